// SPDX-License-Identifier: Apache-2.0
#include "assignment.hpp"

#include <span>
#include <string>
#include <string_view>

namespace kafka {

namespace {

constexpr int seek_timeout_ms = 1000;

partition_list_ptr only(const partition& p, std::int64_t offset) {
  auto list = make_partition_list(1);
  rd_kafka_topic_partition_list_add(list.get(), p.topic.c_str(), p.number)->offset = offset;
  return list;
}

}  // namespace

// librdkafka returns no protocol once the group has ended, which may be before the last revocation is served.
bool assignment::cooperative() {
  const auto* protocol = rd_kafka_rebalance_protocol(client_->get());
  ended_ = protocol == nullptr;
  if (!ended_) cooperative_ = std::string_view(protocol) == "COOPERATIVE";
  return cooperative_;
}

void assignment::add(rd_kafka_topic_partition_list_t& list) {
  std::string why;
  if (cooperative()) {
    rewind_kept(list);
    if (const error_ptr error{rd_kafka_incremental_assign(client_->get(), &list)})
      why = rd_kafka_error_string(error.get());
  } else if (const auto code = rd_kafka_assign(client_->get(), &list); code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    why = text_of(code);
  }
  if (!why.empty()) ctx_.warn("librdkafka rejected the assignment: " + why);
}

void assignment::remove(rd_kafka_topic_partition_list_t& list) {
  if (!cooperative()) {
    rd_kafka_assign(client_->get(), nullptr);
    return;
  }
  rewind_kept(list);
  const error_ptr error(rd_kafka_incremental_unassign(client_->get(), &list));
  if (error && !ended_)
    ctx_.warn(std::string("librdkafka rejected the revocation: ") + rd_kafka_error_string(error.get()));
}

// During a cooperative rebalance, librdkafka pauses all partitions. The response resumes those that this member keeps,
// from librdkafka's own position, which is wrong in some versions, so that records would be lost:
// - Versions 2.1 to 2.13.1 count the end-of-partition event as a record (librdkafka issue 4844). The position is then
//   one too high, and the next record is never fetched.
// - Versions before 2.1 count records that a pause discards while rd_kafka_consume_batch_queue collects them.
// Before the response, therefore, set the position of each kept partition to the one that this source has reached.
void assignment::rewind_kept(const rd_kafka_topic_partition_list_t& changing) {
  const auto kept = make_partition_list();
  table_.each([&](const partition& p) {
    if (p.now != phase::reading) return;
    if (rd_kafka_topic_partition_list_find(&changing, p.topic.c_str(), p.number) != nullptr) return;
    rd_kafka_topic_partition_list_add(kept.get(), p.topic.c_str(), p.number)->offset = p.next;
  });
  if (kept->cnt == 0) return;
  const error_ptr error(rd_kafka_seek_partitions(client_->get(), kept.get(), seek_timeout_ms));
  for (const auto& entry : std::span(kept->elems, static_cast<std::size_t>(kept->cnt))) {
    if (!error && entry.err == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    auto& p = *table_.find(entry.topic, entry.partition);
    p.now = phase::moving;
    p.fetch_from = p.next;
    p.retry_at = {};
  }
}

bool assignment::seek(partition& p, std::int64_t from) {
  const auto list = only(p, from);
  const error_ptr error(rd_kafka_seek_partitions(client_->get(), list.get(), seek_timeout_ms));
  return (!error && list->elems[0].err == RD_KAFKA_RESP_ERR_NO_ERROR) || restart(p, from);
}

bool assignment::restart(partition& p, std::int64_t from) {
  p.delivering = false;
  if (!cooperative()) {
    const auto all = make_partition_list();
    table_.each([&](partition& other) {
      other.delivering = false;
      rd_kafka_topic_partition_list_add(all.get(), other.topic.c_str(), other.number)->offset =
          &other == &p      ? from
          : other.next >= 0 ? other.next
                            : RD_KAFKA_OFFSET_INVALID;
    });
    return rd_kafka_assign(client_->get(), all.get()) == RD_KAFKA_RESP_ERR_NO_ERROR;
  }
  const auto list = only(p, from);
  rewind_kept(*list);  // a rebalance may have begun, and librdkafka would take these calls for its response
  // This fails if an earlier attempt stopped half-way: then there is nothing to unassign.
  const error_ptr ignored(rd_kafka_incremental_unassign(client_->get(), list.get()));
  const error_ptr error(rd_kafka_incremental_assign(client_->get(), list.get()));
  if (error) ctx_.warn(p.stream + ": cannot continue to read this partition: " + rd_kafka_error_string(error.get()));
  return !error;
}

}  // namespace kafka
