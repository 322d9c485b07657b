// SPDX-License-Identifier: Apache-2.0
#include "engine/sink_node.hpp"

#include "engine/writer_share.hpp"

#include <algorithm>
#include <utility>

namespace pl::engine {

sink_node::sink_node(const config::node& settings, std::vector<std::unique_ptr<instance>> writers,
                     std::shared_ptr<node_meters> meters, block_pool& pool, std::uint64_t remove_at)
    : name_(settings.name),
      limit_bytes_(settings.queue.max_bytes),
      disk_limit_bytes_(settings.queue.disk),
      when_letters_full_(settings.when_letters_full),
      best_effort_(settings.on_failure == config::failure_policy::dead_letters),
      pool_(pool),
      meters_(std::move(meters)) {
  if (settings.when_full != config::full_policy::block) limit_bytes_ = std::min(limit_bytes_, remove_at);
  for (auto& w : writers)
    writers_.push_back(std::make_unique<writer>(std::move(w), settings, meters_, pool, remove_at));
}

sink_node::~sink_node() = default;

std::vector<instance*> sink_node::instances() const {
  std::vector<instance*> all;
  for (const auto& w : writers_) all.push_back(&w->sink());
  return all;
}

void sink_node::start(bool patient) {
  if (std::exchange(started_, true)) return;
  patient_ = patient;
  meters_->queue_limit_bytes.set(static_cast<double>(limit_bytes_));
  meters_->queue_disk_limit_bytes.set(static_cast<double>(disk_limit_bytes_));
  for (auto& w : writers_) w->start(events_, patient_);
}

void sink_node::push(std::vector<batch_ref> group) {
  if (writers_.size() == 1) return writers_.front()->push(std::move(group), events_);
  std::vector<std::vector<batch_ref>> parts(writers_.size());
  for (auto& b : group) {
    if (split(std::move(b), parts)) continue;
    for (const auto& other : group)
      if (other) other->mark_undelivered();
    for (const auto& part : parts)
      for (const auto& other : part) other->mark_undelivered();
    return events_.call([&](auto& events) { events.node_failed(name_, "out of memory"); });
  }
  for (std::size_t w = 0; w < writers_.size(); ++w)
    if (!parts[w].empty()) writers_[w]->push(std::move(parts[w]), events_);
}

// Split a batch so that each writer receives the ranges of its own streams. False: out of memory; the batch is marked
// undelivered.
bool sink_node::split(batch_ref batch, std::vector<std::vector<batch_ref>>& to) {
  std::vector<std::size_t> writer;  // of each range
  writer.reserve(batch->nranges);
  for (const auto& range : batch->view().ranges()) writer.push_back(writer_of(pl::view(range.stream), writers_.size()));
  const auto only = writer.empty() ? 0 : writer.front();
  if (std::ranges::all_of(writer, [&](auto w) { return w == only; })) {
    to[only].push_back(std::move(batch));
    return true;
  }
  for (std::size_t w = 0; w < writers_.size(); ++w) {
    std::vector<bool> take;
    take.reserve(writer.size());
    for (const auto of : writer) take.push_back(of == w);
    if (std::none_of(take.begin(), take.end(), [](bool t) { return t; })) continue;
    auto part = select_ranges(pool_, *batch, take);
    if (!part) return batch->mark_undelivered(), false;
    part->share_parent();
    to[w].push_back(std::move(part));
  }
  return true;
}

bool sink_node::full() const {
  return std::any_of(writers_.begin(), writers_.end(), [](const auto& w) { return w->queue().full(); });
}

bool sink_node::discards() const {
  return when_letters_full_ == config::full_dead_letters::discard && failing() &&
         unwritten().bytes >= std::min(limit_bytes_, pool_.budget().limit() / 2) &&
         std::ranges::none_of(writers_, [](const auto& w) { return w->queue().has_room_on_disk(); });
}

void sink_node::flush(bool on) {
  for (auto& w : writers_) w->queue().flush(on);
}

void sink_node::release_lost() {
  for (auto& w : writers_) w->queue().release_lost();
}

void sink_node::join_stored(const settlement_inbox& lane) {
  for (auto& w : writers_) w->queue().join_stored(lane);
}

void sink_node::abandon() {
  for (auto& w : writers_) w->queue().abandon();
}

void sink_node::finish() {
  for (auto& w : writers_) w->queue().close();
  for (auto& w : writers_) w->join();
}

void sink_node::hold() {
  for (auto& w : writers_) w->queue().hold();
}

bool sink_node::held() const {
  return std::ranges::all_of(writers_, [](const auto& w) { return w->queue().held() && w->ended(); });
}

void sink_node::release() {
  for (auto& w : writers_) {
    if (!w->queue().held() || !w->queue().release() || !started_) continue;
    w->join();
    w->start(events_, patient_);
  }
}

sink_node::groups sink_node::take_unwritten() {
  groups all;
  for (auto& w : writers_) {
    w->join();
    all.push_back(w->queue().take_all());
  }
  return all;
}

bool sink_node::take_over(groups& unwritten) {
  const bool same = unwritten.size() == writers_.size();
  const auto any_stored = [](const auto& of) { return std::ranges::any_of(of, &queued_group::on_disk); };
  if (!same && std::ranges::any_of(unwritten, any_stored)) return false;
  for (std::size_t w = 0; w < unwritten.size(); ++w)
    for (auto& group : unwritten[w])
      same ? writers_[w]->queue().adopt(std::move(group)) : push(std::move(group.batches));
  unwritten.clear();
  return true;
}

std::uint64_t sink_node::disk_bytes() const {
  std::uint64_t sum = 0;
  for (const auto& w : writers_) sum += w->queue().disk_bytes();
  return sum;
}

write_queue::amount sink_node::unwritten() const {
  write_queue::amount sum;
  for (const auto& w : writers_) {
    const auto part = w->queue().unwritten();
    sum.groups += part.groups;
    sum.rows += part.rows;
    sum.bytes += part.bytes;
    sum.write_bytes += part.write_bytes;
  }
  return sum;
}

bool sink_node::failing() const {
  return std::ranges::any_of(writers_, [](const auto& w) { return w->failing(); });
}

std::string sink_node::waiting_for() const {
  for (const auto& w : writers_)
    if (auto why = w->why_not_ready(); !why.empty() && (!best_effort_ || w->failed())) return why;
  return {};
}

std::string sink_node::degraded() const {
  for (const auto& w : writers_) {
    if (auto why = w->dropping(); !why.empty()) return why;
    if (auto why = w->why_not_ready(); !why.empty() && best_effort_ && !w->failed()) return why;
  }
  return {};
}

}  // namespace pl::engine
