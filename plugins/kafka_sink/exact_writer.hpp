// SPDX-License-Identifier: Apache-2.0
// Exactly once: the records of a stream, what transforms remember of it, and its position, in one transaction of Kafka.
//
// Each stream has a transactional id. Whoever takes it over (init_transactions) finishes what its last holder had begun, and
// shuts him out: from then on nobody else can move the stream's position, so one look at it, after the taking over, stands for
// the compare-and-set of a database. A holder who was shut out takes the id back, looks, and finds out whether the stream was
// claimed by another (another epoch) or not: a zombie can disturb its rightful owner, but neither stop nor outdo it.
// docs/decisions/0008-exactly-once-into-kafka.md has the reasons.
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

// What one write brings of one stream.
struct stream_share {
  pl::stream_move move;
  std::vector<row_ref> rows;
  std::vector<const pl_change*> changes;  // in their order: the last of a key counts
};

// A producer that holds a stream's transactional id, and where the stream stood when it was taken over.
struct holder {
  std::unique_ptr<producer> by;
  topic_ptr positions;
  standing at;
  std::chrono::steady_clock::time_point used = std::chrono::steady_clock::now();
};

// Takes a stream over. `log` is asked where it stands after that.
[[nodiscard]] pl::result<holder> take_over(const stream_id& of, const sink_options& options, pl::context ctx,
                                           position_log& log);

class exact_writer {
 public:
  exact_writer(const sink_options& options, pl::context ctx) : options_(options), ctx_(ctx), log_(options, ctx) {}

  // Writes what one write brings, a transaction for each stream, all at once. token: of the write, the same for all its tries;
  // what an earlier try has written is found out, and not written again. Failures, of the first stream that has one: retry;
  // fenced; rejected, after the rows were named: then nothing of that stream is written.
  pl::result<void> write(std::span<const stream_share> shares, std::uint64_t token, encoder& with,
                         const pl::batch_list& batches);
  // Streams that nothing was written of for long have gone to another host: their producers go.
  void let_go_of_idle();
  void stop() { holders_.clear(); }

 private:
  // A stream's transaction, from its beginning to its end.
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
  pl::failure given_up(holder& by, std::string why) const;
  [[nodiscard]] stream_id id_of(const pl::stream_move& m) const;

  const sink_options& options_;
  pl::context ctx_;
  position_log log_;
  std::map<stream_id, holder> holders_;
};

// The sink's "store/1".
class position_book {
 public:
  position_book(const sink_options& options, pl::context ctx) : options_(options), ctx_(ctx), log_(options, ctx) {}
  pl::result<standing> position(const stream_id& of) { return log_.glance(of); }
  pl::result<bool> claim(const stream_id& of, pl_position seen, pl_position wanted, const pl_mark& mark);
  pl::result<position_log::entries> state_of(const stream_id& of) { return log_.state_of(of); }

 private:
  pl::result<bool> mark_applies(const stream_id& of, const pl_mark& mark);

  const sink_options& options_;
  pl::context ctx_;
  position_log log_;
};

}  // namespace kafka
