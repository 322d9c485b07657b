// SPDX-License-Identifier: Apache-2.0
// What the host keeps of the devices: written as snapshots of what has changed, and read back when a stream comes to this
// lane.
//
// A key has two records, trace and alerts (codec.hpp), which are always written together and stand at one position: the
// records behind it are read again after a restart, the older ones are in them. What a timer has caused can't be had by
// reading again, so it is written at once, under names of its own, and told of once more after a restart: nobody knows
// then whether it got through.
#pragma once

#include "codec.hpp"
#include "evaluator.hpp"

#include <pipeline/context.hpp>

#include <map>
#include <string>
#include <string_view>

namespace threshold_alert {

class memory {
 public:
  memory(const rule_set& rules, evaluator& of, pl::context ctx) : rules_(rules), evaluator_(of), ctx_(ctx) {
    if (ctx.keeps_state()) of.remember_changes();
  }

  // One record as it was put; then, after the last of a stream, `restored`.
  pl::result<void> restore(std::string_view stream, std::string_view name, std::string_view value);
  pl::result<void> restored(std::string_view stream, bool moved);

  // Puts what has changed since the last time.
  void snapshot(std::string_view stream);
  // Puts a key about which a timer has told something.
  void put_now(std::string_view stream, std::string_view key);

 private:
  // The first byte of a record's name; the key follows.
  enum class record : char { trace = 't', alerts = 'a', timer_trace = 'T', timer_alerts = 'A', stream = 's' };
  struct found {
    std::string trace, alerts, timer_trace, timer_alerts;
  };

  void put(std::string_view stream, record what, std::string_view key, std::string_view value);
  void erase(std::string_view stream, record what, std::string_view key);
  void put_key(std::string_view stream, key_node& n);
  pl::result<void> restore_key(evaluator::stream_state& s, std::string_view key, const found& records, bool moved);

  const rule_set& rules_;
  evaluator& evaluator_;
  pl::context ctx_;
  std::map<std::string, std::map<std::string, found>, std::less<>> restoring_;  // by stream and key
  std::string name_;
};

}  // namespace threshold_alert
