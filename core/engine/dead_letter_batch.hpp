// SPDX-License-Identifier: Apache-2.0
// Makes dead letters from rejected rows. A dead letter contains the reason, the stream and position, and the original
// record. The class is immutable and thread-safe.
#pragma once

#include "engine/instance.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// The role of the node that rejected a row.
enum class refused_at : std::uint8_t { transform, sink };

class dead_letter_format {
 public:
  dead_letter_format(services common, block_pool& pool, std::string pipeline);

  // Return the columns of all dead letters, and the kind of each.
  [[nodiscard]] column_set columns() const;

  // Return one dead letter for all these rows, of one batch and stream, without their originals: the first reason, and the
  // number and positions of the records (collapsed_letter.hpp). Throws std::bad_alloc.
  [[nodiscard]] batch_ref collapsed(const std::vector<rejection>& rows, std::string_view node) const;

  // How a dead letter is made smaller for a sink that rejects it.
  enum class size : std::uint8_t {
    cut,   // the value is cut, and parts that are long or that the retry does not need are left out
    bare,  // no value, key, headers or row: the place, the reason, and the lengths and hashes of what is missing
  };
  // Return the smaller version of a dead letter that `batches` made, with the reason why the sink rejects it. It derives
  // from `rejected`. Throws std::bad_alloc.
  [[nodiscard]] batch_ref smaller(const record_batch::replacement& original, record_batch& rejected,
                                  std::string_view why, size to) const;

  // Return batches that refer to the rejected rows' roots, so that the roots settle once the dead letters are written.
  // Columns: time, pipeline, node, reason, stream, position; the original record: topic, key, value, headers,
  // record_time; and `record`, the rejected row (stored_row.hpp), if a sink rejected it, if its record became several
  // rows, or if there is no original. Throws std::bad_alloc.
  [[nodiscard]] std::vector<batch_ref> batches(const std::vector<rejection>& rejected, std::string_view node,
                                               refused_at where) const;

 private:
  block_pool& pool_;
  std::string pipeline_;
  const pl_schema* schema_;
  std::shared_ptr<const simulated_clock> clock_;
};

}  // namespace pl::engine
