// SPDX-License-Identifier: Apache-2.0
#include "reception.hpp"

namespace kafka {

namespace {

using namespace std::chrono_literals;

constexpr auto longest_silence = 10s;  // a member sends a heartbeat every three seconds
constexpr auto longest_rejoin = 10s;   // a member that joins again keeps its partitions meanwhile

}  // namespace

std::string reception::why_not(bool joining, time last_response, time now) {
  if (!joining)
    joining_since_.reset();
  else if (!joining_since_)
    joining_since_ = now;
  if (down_since_ && *down_since_ < last_response) down_since_.reset();
  if (refused_at_ && *refused_at_ < last_response) refused_at_.reset();
  if (down_since_) return "no broker of " + brokers_ + " can be reached: " + (refused_at_ ? refusal_ : down_);
  if (!joined_ || (joining_since_ && now - *joining_since_ > longest_rejoin))
    return std::string("joining the group '") + group_ + "'" + (joined_ ? " again" : "") +
           (refused_at_             ? ": " + refusal_
            : join_failure_.empty() ? ""
                                    : ": " + join_failure_);
  if (now - last_response <= longest_silence) return {};
  const auto silence = std::chrono::floor<std::chrono::seconds>(now - last_response);
  return "no broker of " + brokers_ + " has responded for " + std::to_string(silence.count()) + " s" +
         (refused_at_ ? ": " + refusal_ : "");
}

}  // namespace kafka
