// SPDX-License-Identifier: Apache-2.0
#include "engine/disk_queue.hpp"

#include "telemetry/progress.hpp"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <iterator>
#include <new>

namespace pl::engine {

namespace {

constexpr std::size_t largest_kept = std::size_t{1} << 20U;  // of the buffer for encoded groups

std::uint32_t checksum_of(std::string_view bytes) {
  return static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

}  // namespace

// --------------------------------------------------------------------------------------------------- stored groups ---

stored_group::stored_group(std::shared_ptr<queue_segment> file, std::uint64_t offset, std::uint32_t bytes,
                           std::uint32_t checksum, settlement_list settles, memory_budget& budget)
    : file_(std::move(file)),
      parts_{{offset, bytes, checksum, static_cast<std::uint32_t>(settles.size())}},
      settles_(std::move(settles)),
      budget_(&budget) {
  count_memory();
}

stored_group& stored_group::operator=(stored_group&& other) noexcept {
  if (this == &other) return *this;
  drop();
  file_ = std::move(other.file_);
  parts_ = std::move(other.parts_);
  settles_ = std::move(other.settles_);
  budget_ = other.budget_, footprint_ = other.footprint_;
  return *this;
}

// Call a function for each settlement. Joined parts have the same one.
template <class Function>
void stored_group::each_settlement(Function call) const {
  for (const settlement* last = nullptr; const auto& s : settles_)
    if (s != nullptr && s.get() != std::exchange(last, s.get())) call(*s);
}

// Count what stays in memory, instead of what was counted before.
void stored_group::count_memory() {
  const auto before = footprint_;
  footprint_ = sizeof(stored_group) + 192 + parts_.capacity() * sizeof(part);
  footprint_ += settles_.capacity() * sizeof(settles_.front());
  each_settlement([this](const auto& s) { footprint_ += s.footprint(); });
  budget_->add(footprint_);
  file_->add_entry(footprint_);
  if (before == 0) return;
  budget_->sub(before);
  file_->sub_entry(before);
}

std::uint64_t stored_group::bytes() const noexcept {
  std::uint64_t all = 0;
  for (const auto& p : parts_) all += p.bytes;
  return all;
}

bool stored_group::lost() const noexcept {
  bool any = false;
  each_settlement([&any](const auto& s) { any = any || s.lost(); });
  return any;
}

std::optional<bool> stored_group::is_of(const settlement_inbox& lane) const noexcept {
  std::size_t here = 0;
  for (const auto& s : settles_) {
    if (s == nullptr || s->revoked()) return std::nullopt;
    here += s->reports_to(lane) ? 1 : 0;
  }
  if (here == 0) return false;
  return here == settles_.size() ? std::optional(true) : std::nullopt;
}

void stored_group::append(stored_group&& later) {
  std::ranges::copy(later.parts_, std::back_inserter(parts_));
  std::ranges::copy(later.settles_, std::back_inserter(settles_));
  footprint_ += std::exchange(later.footprint_, 0);
  later.release();
}

void stored_group::join_settlements() {
  std::size_t joined = 0;  // the first entry of the settlement that takes the next ones
  bool open = false;       // nobody else holds it
  for (std::size_t i = 0, end = 0; i < settles_.size(); i = end) {
    const auto s = settles_[i];
    while (end < settles_.size() && settles_[end] == s) ++end;
    const bool alone = s != nullptr && s.use_count() == static_cast<long>(end - i + 1);
    // Incrementing the number of holders makes visible what others did before they released theirs.
    const auto synchronized = s;
    const bool only_here = alone && !synchronized->undelivered();
    if (only_here && open) {
      settles_[joined]->absorb(*s);
      std::fill_n(settles_.begin() + static_cast<std::ptrdiff_t>(i), end - i, settles_[joined]);
    } else {
      joined = i;
      open = only_here;
    }
  }
  count_memory();
}

void stored_group::release() noexcept {
  if (file_ == nullptr) return;
  budget_->sub(footprint_);
  file_->sub_entry(footprint_);
  footprint_ = 0;
  parts_.clear();
  settles_.clear();
  file_.reset();
}

void stored_group::drop() noexcept {
  each_settlement([](auto& s) { s.mark_undelivered(); });
  release();
}

void stored_group::mark_lost() noexcept {
  each_settlement([](auto& s) { s.mark_lost(); });
  release();
}

// Return the failure. The lanes of these records read them again.
failure stored_group::damaged(failure why) {
  each_settlement([](auto& s) { s.mark_damaged(); });
  release();
  return why;
}

result<batch_refs> stored_group::load(block_pool& pool) {
  batch_refs all;
  settlement_span left(settles_);
  for (const auto& p : parts_) {
    if (auto loaded = load(p, left.first(p.settlements), pool, all); !loaded.ok()) {
      all.clear();
      return damaged(loaded.why());
    }
    left = left.subspan(p.settlements);
  }
  release();
  return all;
}

result<void> stored_group::load(const part& from, settlement_span settles, block_pool& pool, batch_refs& to) {
  std::string bytes(from.bytes, '\0');
  if (auto read = file_->read(from.offset, bytes); !read.ok()) return read;
  if (checksum_of(bytes) != from.checksum)
    return fatal(
        fmt::format("{} is damaged: the checksum of {} bytes at {} is wrong", file_->path(), from.bytes, from.offset));
  auto batches = decode(bytes, file_->schemas(), settles, pool);
  if (!batches) return fatal("out of memory while records were read from " + file_->path());
  std::ranges::move(*batches, std::back_inserter(to));
  return {};
}

// ------------------------------------------------------------------------------------------------------- the queue ---

disk_queue::disk_queue(disk_queue_settings settings, std::shared_ptr<disk_usage> usage, block_pool& pool,
                       log_function log)
    : settings_(std::move(settings)), usage_(std::move(usage)), pool_(pool), log_(std::move(log)) {}

bool disk_queue::entries_full() const noexcept {
  const auto& budget = pool_.budget();
  const bool scarce = budget.used() >= budget.limit() / 4 * 3;
  return usage_->entries() > budget.limit() / (scarce ? 16 : 4);
}

std::optional<stored_group> disk_queue::store(batch_refs& group) {
  if (!enabled() || !can_encode(group)) return std::nullopt;
  std::scoped_lock lock(mutex_);
  // There is never room for a group that is larger than the limit, but for others there may be.
  if (refused_bytes_ > settings_.max_bytes) refused_bytes_ = 0;
  // The schemas have numbers of the file, so the file must be known before.
  if (!room_again() || !make_room(1)) return std::nullopt;
  auto settles = encode_into_file(group);
  if (!settles) return std::nullopt;
  const auto at = current_->append(encoded_);
  if (!at.ok()) return refuse(at.why().message, encoded_.size()), std::nullopt;
  stored_group stored(current_, *at, static_cast<std::uint32_t>(encoded_.size()), checksum_of(encoded_),
                      *std::move(settles), pool_.budget());
  recovered();
  if (encoded_.capacity() > largest_kept) encoded_ = {};
  group.clear();
  return stored;
}

// Encode a group for the current file, or for a new one if that has no room. A column that the source makes on demand needs
// memory, which may be exhausted.
std::optional<settlement_list> disk_queue::encode_into_file(const batch_refs& group) {
  try {
    encoded_.clear();
    auto settles = encode(group, current_->schemas(), encoded_);
    if (encoded_.size() > UINT32_MAX) return std::nullopt;
    if (current_->fits(encoded_.size())) return settles;
    if (!make_room(encoded_.size())) return std::nullopt;
    encoded_.clear();
    return encode(group, current_->schemas(), encoded_);
  } catch (const std::bad_alloc&) {
    encoded_.clear();
    refuse("out of memory while records were prepared for the disk", 1);
    return std::nullopt;
  }
}

bool disk_queue::at_limit() {
  std::scoped_lock lock(mutex_);
  return refused_bytes_ != 0 && at_limit_ && refused_bytes_ <= settings_.max_bytes;
}

bool disk_queue::has_room() {
  if (!enabled()) return false;
  std::scoped_lock lock(mutex_);
  return room_again();
}

// After a refusal, there is room once there is another file with room for the group that was refused, and a write
// succeeds.
bool disk_queue::room_again() {
  if (refused_bytes_ == 0) return true;
  if (clock::now() < next_attempt_) return false;
  current_.reset();
  drained_.reset();
  const auto bytes = refused_bytes_;
  if (!make_room(bytes)) return false;
  if (const auto written = current_->try_append(encoded_); !written.ok()) return refuse(written.why().message, bytes);
  recovered();
  return true;
}

// Ensure that the current file has room, if necessary with a new file.
bool disk_queue::make_room(std::size_t bytes) {
  if (current_ == nullptr) current_ = std::exchange(drained_, {}).lock();
  if (current_ != nullptr && current_->fits(bytes)) return true;
  const auto size = std::max<std::uint64_t>(segment_bytes(settings_.max_bytes), bytes);
  if (usage_->bytes() + size > settings_.max_bytes) {
    refused_bytes_ = bytes;
    at_limit_ = true;
    next_attempt_ = clock::now() + retry_interval / 10;
    if (!std::exchange(full_, true))
      log_(telemetry::log_level::warn,
           fmt::format("the queue is full on disk, too (queue.disk: {}): {} until there is room",
                       telemetry::format_bytes(settings_.max_bytes), consequence()));
    return false;
  }
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const auto name =
        segment_name(settings_.state_dir, settings_.pipeline, settings_.sink, settings_.writer, next_number_++);
    auto made = queue_segment::create(name, size, usage_);
    if (made.ok()) {
      current_ = *std::move(made);
      refused_bytes_ = 0;
      return true;
    }
    if (made.why().code == status::again) continue;  // another host has a file of this name
    return refuse(made.why().message, bytes);
  }
  return refuse("no name is free for another file in " + settings_.state_dir, bytes);
}

std::string_view disk_queue::consequence() const {
  switch (settings_.when_full) {
    case config::full_policy::block:
      return "its sources pause";
    case config::full_policy::drop_newest:
      return "its newest rows are dropped";
    case config::full_policy::drop_oldest:
      break;
  }
  return "its oldest rows are dropped";
}

// Log that groups stay in memory. Return false.
bool disk_queue::refuse(const std::string& why, std::size_t bytes) {
  refused_bytes_ = bytes;
  at_limit_ = false;
  next_attempt_ = clock::now() + retry_interval;
  if (!failing_.ongoing())
    log_(telemetry::log_level::warn,
         fmt::format("{}; the queue continues in memory alone, and {} when that is full; retried every second", why,
                     consequence()));
  failing_.attempt_failed();
  return false;
}

void disk_queue::recovered() {
  if (failing_.ongoing())
    log_(telemetry::log_level::info, "the queue can be extended on disk " + failing_.end_of_state());
}

void disk_queue::freed() {
  std::scoped_lock lock(mutex_);
  next_attempt_ = {};
}

void disk_queue::adopt(stored_group& from) {
  std::scoped_lock lock(mutex_);
  from.file().count_for(usage_);
}

void disk_queue::report_damage(const failure& why, std::uint64_t rows) {
  log_(telemetry::log_level::error,
       fmt::format("{}; {} record{} of it, and all that was queued after them, are read again from their source",
                   why.message, telemetry::format_count(rows), rows == 1 ? "" : "s"));
  std::scoped_lock lock(mutex_);
  const auto now = clock::now();
  if (now < damaged_at_ + pause_) return;  // found together
  const bool again = damaged_at_ != clock::time_point{} && now - damaged_at_ < 2 * longest_pause;
  pause_ = again ? std::min(2 * pause_, longest_pause) : retry_interval;
  damaged_at_ = now;
  refused_bytes_ = std::max<std::size_t>(1, refused_bytes_);
  at_limit_ = false;
  next_attempt_ = now + pause_;
  log_(telemetry::log_level::warn,
       fmt::format("nothing is stored on disk for {} s, because what is read from it is damaged", pause_.count()));
}

void disk_queue::drained() {
  std::scoped_lock lock(mutex_);
  if (current_ != nullptr) drained_ = std::exchange(current_, nullptr);
  if (at_limit_) refused_bytes_ = 0;
  if (std::exchange(full_, false)) log_(telemetry::log_level::info, "the queue on disk is empty again, and has room");
}

}  // namespace pl::engine
