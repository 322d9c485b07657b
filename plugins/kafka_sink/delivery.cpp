// SPDX-License-Identifier: Apache-2.0
#include "delivery.hpp"

#include <algorithm>

namespace kafka {

bool is_message_fault(rd_kafka_resp_err_t code) noexcept {
  return code == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE || code == RD_KAFKA_RESP_ERR_INVALID_RECORD ||
         code == RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP;
}

const encoded_row& delivery::encode(std::size_t index) {
  const auto batch = batches_[rows_[index].batch];
  (void)encoder_.bind(batch.schema());  // succeeded before the write began
  return encoder_.encode(batch, rows_[index].row);
}

void delivery::send_all(producer& by) {
  for (std::size_t i = 0; i < rows_.size(); ++i) by.send(i, encode(i));
}

delivery::outcome delivery::bisect(producer& by, const std::vector<undelivered>& failed, const trial& around) {
  outcome found;
  bisect(by, failed, around, found);
  return found;
}

void delivery::bisect(producer& by, const std::vector<undelivered>& failed, const trial& around, outcome& to) {
  std::vector<std::size_t> again;
  for (const auto& f : failed) {
    if (f.row != of_no_row && is_message_fault(f.why))
      again.push_back(f.row);
    else
      to.unacknowledged.push_back(f);
  }
  if (again.empty()) return;
  std::sort(again.begin(), again.end());
  const std::span<const std::size_t> rows(again);
  const auto half = rows.size() / 2;
  if (half > 0) resend(by, rows.first(half), around, to);
  resend(by, rows.subspan(half), around, to);
}

void delivery::resend(producer& by, std::span<const std::size_t> rows, const trial& around, outcome& to) {
  std::vector<undelivered> failed;
  around([&] {
    for (const auto index : rows) by.send(index, encode(index));
    failed = by.finish();
  });
  if (rows.size() == 1 && !failed.empty() && is_message_fault(failed.front().why))
    to.refused.push_back(failed.front());
  else
    bisect(by, failed, around, to);
}

void delivery::reject(const pl::context& to, const std::vector<undelivered>& refused, const std::string& topic) {
  for (const auto& r : refused) to.reject(batches_[rows_[r.row].batch], rows_[r.row].row, explain(r, topic));
}

std::string delivery::explain(const undelivered& refused, const std::string& topic) {
  const auto& encoded = encode(refused.row);
  const auto size = (encoded.value ? encoded.value->size() : 0) + (encoded.key ? encoded.key->size() : 0);
  if (refused.why != RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE)
    return "the broker rejects the record for topic '" + topic + "': " + text_of(refused.why);
  return "the record is too large for topic '" + topic + "' (" + std::to_string(size) +
         " bytes of key and value); raise the topic's max.message.bytes, and message.max.bytes in 'properties'";
}

}  // namespace kafka
