// SPDX-License-Identifier: Apache-2.0
// The record format of the positions topic, which is compacted: the last record of a key is valid.
//
//   key   = "position" NL stream                  value = {"next":17,"epoch":3,"token":42}
//   key   = "state" NL stream NL node NL key      value = the transform's bytes; null: deleted
//   stream = pipeline NL sink NL source NL stream
//
// NL is a line feed. In a name, a line feed is written as \n and a backslash as \\. A transform's key comes last and is
// not escaped.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace kafka {

// Identifies a stream of one source in one sink.
struct stream_id {
  std::string pipeline, sink, source, stream;
  bool operator<(const stream_id& o) const {
    return std::tie(pipeline, sink, source, stream) < std::tie(o.pipeline, o.sink, o.source, o.stream);
  }
};

// The position of a stream. token: identifies the transaction that wrote it; 0 if a claim wrote it.
struct stream_position {
  std::uint64_t next = 0, epoch = 0, token = 0;
  bool operator==(const stream_position&) const = default;
};

// Number of partitions that streams are distributed over, even if the topic has more: the partition of a stream must
// never change.
constexpr std::int32_t positions_partitions = 16;

[[nodiscard]] std::string position_key(const stream_id& of);
[[nodiscard]] std::string state_key(const stream_id& of, std::string_view node, std::string_view key);
// Return the node and key of a state_key of this stream; nullopt if the key is not one.
[[nodiscard]] std::optional<std::pair<std::string, std::string>> entry_of(const stream_id& of, std::string_view key);

// Return the stream of a position_key or state_key of this pipeline, sink and source; nullopt if the key is not one.
[[nodiscard]] std::optional<std::string> stream_of(const stream_id& of_source, std::string_view key);

[[nodiscard]] std::string text_of(const stream_position& at);
[[nodiscard]] std::optional<stream_position> parse_position(std::string_view text);

// Return the partition of a stream. Numbered streams ("topic/0", "topic/1") get different partitions as far as
// possible: an unfinished transaction hides the records after it in its partition, which then affects no other stream.
[[nodiscard]] std::int32_t partition_of(const stream_id& of);

[[nodiscard]] std::string transactional_id(const stream_id& of);

}  // namespace kafka
