// SPDX-License-Identifier: Apache-2.0
// What a member of the group has noticed of topics that were deleted while it was in the group.
#pragma once

#include "recent_records.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace kafka {

class deleted_topics {
 public:
  // A stream of such a topic, as it was revoked.
  struct former {
    std::int64_t next;    // the position that was read next
    recent_records read;  // the last records that were read
  };

  // A broker does not know the topic or a partition of it, although this member was in the group. Empty: an event without
  // the name.
  void note_unknown(std::string_view topic) { unknown_.emplace(topic); }
  [[nodiscard]] bool unknown(std::string_view topic) const { return unknown_.contains(topic); }
  [[nodiscard]] bool any() const noexcept { return !unknown_.empty(); }
  // The group's committed offset has vanished before the stream was revoked.
  void note_revoked(const std::string& stream, former last) { former_.insert_or_assign(stream, std::move(last)); }

  // Return whether a partition without a committed offset is one of a topic that was created again.
  [[nodiscard]] bool created_again(std::string_view topic, const std::string& stream) const {
    return unknown_.contains(topic) || former_.contains(stream);
  }
  // Return what this member has read of the stream before; null if it has not read it.
  [[nodiscard]] const former* find(const std::string& stream) const {
    const auto found = former_.find(stream);
    return found == former_.end() ? nullptr : &found->second;
  }
  // The new stream has begun.
  void forget(const std::string& stream) { former_.erase(stream); }

 private:
  std::set<std::string, std::less<>> unknown_;
  std::map<std::string, former> former_;
};

}  // namespace kafka
