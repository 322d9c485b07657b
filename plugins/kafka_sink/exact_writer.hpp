// SPDX-License-Identifier: Apache-2.0
// Writes the records of a stream, the state of transforms and the position in one transaction (exactly once). Taking
// over a stream's transactional id ends its previous holder's transaction and fences the holder; reading the position
// after that is equivalent to a compare-and-set. See docs/decisions/0008-exactly-once-into-kafka.md.
#pragma once

#include "delivery.hpp"
#include "options.hpp"
#include "position_log.hpp"
#include "position_record.hpp"
#include "producer.hpp"

#include <pipeline/moves.hpp>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kafka {

// The part of one write that belongs to one stream.
struct stream_share {
  pl::stream_move move;
  std::vector<row_ref> rows;
  std::vector<const pl_state_change*> changes;  // in order: the last change of a key applies
};

// A producer that holds a stream's transactional id, and the position of the stream at the takeover.
struct holder {
  std::unique_ptr<producer> by;
  topic_ptr positions;
  stream_position at;
  std::chrono::steady_clock::time_point used = std::chrono::steady_clock::now();
};

// Take over a stream, then read its position from `log`.
[[nodiscard]] pl::result<holder> take_over(const stream_id& of, const sink_options& options, pl::context ctx,
                                           position_log& log);

class exact_writer {
 public:
  exact_writer(const sink_options& options, pl::context ctx) : options_(options), ctx_(ctx), log_(options, ctx) {}

  // Write all shares in parallel, one transaction for each stream. `token` identifies the write over all its attempts,
  // so an attempt that was already committed is not written again. Return the failure of the first stream that has
  // one: retry; fenced; or rejected, after rejecting its rows, in which case nothing of that stream is written.
  pl::result<void> write(std::span<const stream_share> shares, std::uint64_t token, encoder& with,
                         const pl::batch_list& batches);
  // Destroy producers of streams that had no write for a long time: another host probably owns these streams.
  void drop_idle_holders();
  void stop() { holders_.clear(); }

 private:
  // The transaction of one stream.
  struct transaction {
    const stream_share* share;
    stream_id of;
    delivery rows;
    holder* by = nullptr;
    bool open = false, done = false;
    std::vector<undelivered> failed = {};
    std::string why_not_committed = {};
  };

  pl::result<void> begin(transaction& t, std::uint64_t token);
  void end(transaction& t) const;
  pl::result<void> conclude(transaction& t, std::uint64_t token);
  pl::result<holder*> held(const stream_id& of, const pl::stream_move& move);
  pl::failure refuse(transaction& t);
  pl::failure abort_transaction(holder& by, std::string why) const;
  [[nodiscard]] stream_id id_of(const pl::stream_move& m) const;

  const sink_options& options_;
  pl::context ctx_;
  position_log log_;
  std::map<stream_id, holder> holders_;
};

// Implements the "position_store/1" extension of the sink.
class topic_position_store {
 public:
  topic_position_store(const sink_options& options, pl::context ctx)
      : options_(options), ctx_(ctx), log_(options, ctx) {}
  pl::result<stream_position> position(const stream_id& of) { return log_.read_committed(of); }
  pl::result<bool> claim(const stream_id& of, pl_position seen, pl_position wanted,
                         const pl_state_watermark& watermark);
  pl::result<position_log::entries> state_of(const stream_id& of) { return log_.state_of(of); }
  pl::result<std::set<std::string>> streams(const stream_id& of_source) { return log_.streams(of_source); }

 private:
  pl::result<bool> watermark_applies(const stream_id& of, const pl_state_watermark& watermark);

  const sink_options& options_;
  pl::context ctx_;
  position_log log_;
};

}  // namespace kafka
