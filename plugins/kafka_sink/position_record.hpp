// SPDX-License-Identifier: Apache-2.0
// How positions and state lie in the positions topic, which is compacted: the last record of a key counts.
//
//   key   = "position" NL stream                  value = {"next":17,"epoch":3,"token":42}
//   key   = "state" NL stream NL node NL key      value = the transform's bytes; null: gone
//   stream = pipeline NL sink NL source NL stream
//
// NL is a line feed; where a name has one, or a backslash, a backslash stands before it (and 'n' for the line feed). A key of
// a transform comes last, and is left as it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace kafka {

// A stream of one source, as one sink knows it.
struct stream_id {
  std::string pipeline, sink, source, stream;
  bool operator<(const stream_id& o) const {
    return std::tie(pipeline, sink, source, stream) < std::tie(o.pipeline, o.sink, o.source, o.stream);
  }
};

// Where a stream stands. token: of the transaction that brought it there; 0: a claim did.
struct standing {
  std::uint64_t next = 0, epoch = 0, token = 0;
  bool operator==(const standing&) const = default;
};

// Streams are spread over so many partitions, whatever the topic has beyond: a stream must never move.
constexpr std::int32_t positions_partitions = 16;

[[nodiscard]] std::string position_key(const stream_id& of);
[[nodiscard]] std::string state_key(const stream_id& of, std::string_view node, std::string_view key);
// Node and key of a state_key of this stream; nothing: it is none.
[[nodiscard]] std::optional<std::pair<std::string, std::string>> entry_of(const stream_id& of, std::string_view key);

[[nodiscard]] std::string text_of(const standing& at);
[[nodiscard]] std::optional<standing> standing_of(std::string_view text);

// Streams that are numbered ("topic/0", "topic/1") are in partitions of their own as far as there are enough: an unfinished
// transaction hides what comes after it in a partition, which is nobody else's then.
[[nodiscard]] std::int32_t partition_of(const stream_id& of);

[[nodiscard]] std::string transactional_id(const stream_id& of);

}  // namespace kafka
