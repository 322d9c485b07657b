// SPDX-License-Identifier: Apache-2.0
#include "committer.hpp"

#include <pipeline/failpoint.hpp>

#include <cstring>
#include <span>

namespace kafka {

namespace {

using namespace std::chrono_literals;

using event_ptr = std::unique_ptr<rd_kafka_event_t, freed_by<rd_kafka_event_destroy>>;

constexpr auto answer_overdue = 60s;  // then the answer is given up: a later commit says the same and more
constexpr int wait_ms = 5000;
// The group moved on while the offset was under way; the partition's fate comes with the rebalance.
bool is_rebalance(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION ||
         code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID;
}

std::span<const rd_kafka_topic_partition_t> elements(const rd_kafka_topic_partition_list_t* list) {
  return list == nullptr
             ? std::span<const rd_kafka_topic_partition_t>{}
             : std::span<const rd_kafka_topic_partition_t>(list->elems, static_cast<std::size_t>(list->cnt));
}

}  // namespace

committer::committer(std::shared_ptr<client> with, std::shared_ptr<group_watch> watch, pl::context ctx,
                     std::chrono::nanoseconds interval)
    : client_(std::move(with)),
      watch_(std::move(watch)),
      ctx_(ctx),
      interval_(interval),
      commits_(
          ctx.counter("kafka_commits_total", "Offsets committed to the broker, one for each partition and commit")),
      failures_(
          ctx.counter("kafka_commit_failures_total", "Offsets that the broker did not take; they are sent again")) {}

std::string committer::mark(std::int64_t offset) const {
  return "pipeline-host:" + std::string(ctx_.pipeline()) + ":" + std::to_string(offset);
}

partition_list_ptr committer::offsets_of(const std::vector<partition*>& those) const {
  auto list = make_partition_list(static_cast<int>(those.size()));
  for (auto* p : those) {
    auto* entry = rd_kafka_topic_partition_list_add(list.get(), p->topic.c_str(), p->number);
    entry->offset = p->settled;
    const auto text = mark(p->settled);
    entry->metadata = strdup(text.c_str());  // freed with the list
    entry->metadata_size = text.size();
    p->committing = p->settled;
  }
  return list;
}

void committer::commit_if_due(const partition_table& table) {
  const auto now = std::chrono::steady_clock::now();
  if (watch_->joining() || now - sent_ < (waiting_ ? std::chrono::nanoseconds(answer_overdue) : interval_)) return;
  std::vector<partition*> those;
  table.each([&](partition& p) {
    if (p.uncommitted()) those.push_back(&p);
  });
  if (those.empty()) return;
  sent_ = now;
  pl::failpoint("broker.before");
  const auto code = rd_kafka_commit(client_->get(), offsets_of(those).get(), 1);
  waiting_ = code == RD_KAFKA_RESP_ERR_NO_ERROR;
  if (!waiting_)
    for (auto* p : those) note(*p, code, p->committing);
}

void committer::on_answer(const partition_table& table, rd_kafka_resp_err_t code,
                          const rd_kafka_topic_partition_list_t* offsets) {
  waiting_ = false;
  pl::failpoint("broker.after");
  for (const auto& entry : elements(offsets))
    if (auto* p = table.find(entry.topic, entry.partition))
      note(*p, entry.err != RD_KAFKA_RESP_ERR_NO_ERROR ? entry.err : code, entry.offset);
}

void committer::commit_now(const std::vector<partition*>& those) {
  std::vector<partition*> open;
  for (auto* p : those)
    if (p->uncommitted()) open.push_back(p);
  if (open.empty()) return;
  const queue_ptr answers(rd_kafka_queue_new(client_->get()));
  auto code = rd_kafka_commit_queue(client_->get(), offsets_of(open).get(), answers.get(), nullptr, nullptr);
  const event_ptr answer(code == RD_KAFKA_RESP_ERR_NO_ERROR ? rd_kafka_queue_poll(answers.get(), wait_ms) : nullptr);
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
    code = answer ? rd_kafka_event_error(answer.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
  for (auto* p : open) note(*p, code, p->committing);
}

void committer::note(partition& p, rd_kafka_resp_err_t code, std::int64_t offset) {
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
    p.committed = offset;
    commits_.add();
    return;
  }
  failures_.add();
  if (is_rebalance(code)) return;
  if (warnings_.allows("commit"))
    ctx_.warn("the broker did not take offset " + std::to_string(offset) + " of " + p.stream + ": " + text_of(code) +
              "; it is sent again (after a restart, records since offset " + std::to_string(p.committed) +
              " would be read again)");
}

}  // namespace kafka
