// SPDX-License-Identifier: Apache-2.0
#include "engine/write_queue.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace pl::engine {

// What nobody took is not written: its records are read again.
write_queue::~write_queue() {
  for (auto& g : waiting_) g.mark_undelivered();
  meter_.add(-static_cast<double>(waiting_size_.bytes + taken_size_.bytes + next_size_.bytes));
  disk_meter_.add(-static_cast<double>(stored_));
}

void write_queue::count(amount& to, const amount& size, int sign) {
  const auto add = [sign](std::uint64_t& n, std::uint64_t by) { n = sign > 0 ? n + by : n - std::min(n, by); };
  add(to.groups, size.groups);
  add(to.rows, size.rows);
  add(to.bytes, size.bytes);
  add(to.write_bytes, size.write_bytes);
}

// Under the lock.
void write_queue::count_stored(const group& g, int sign) {
  if (!g.on_disk()) return;
  stored_ += sign > 0 ? g.size.groups : -g.size.groups;  // unsigned: wraps back
  disk_meter_.add(sign * static_cast<double>(g.size.groups));
}

// Under the lock. With a part on disk, a quarter of the memory is enough: the rest is for other sinks.
std::uint64_t write_queue::memory_share() const {
  return std::min(when_full_ == config::full_policy::block ? max_bytes_ : remove_at_, pool_.budget().limit() / 4);
}

// Under the lock.
bool write_queue::has_memory_for(std::uint64_t bytes) const {
  const auto& budget = pool_.budget();
  if (unbegun_bytes() + bytes > memory_share()) return false;
  return budget.used() < budget.limit() / 4 * 3 || waiting_size_.bytes < batch_.max_bytes;
}

// Under the lock. Whether lanes wait for memory, although there may be room on disk.
bool write_queue::waits() const {
  return when_full_ == config::full_policy::block && disk_->enabled() &&
         patience_.waits(std::chrono::steady_clock::now(), stored_ != 0);
}

// Several lanes may have found room for their batches at the same time, and not all batches come from lanes that wait.
bool write_queue::keeps_in_memory(const group& g) const {
  std::scoped_lock lock(mutex_);
  if (has_memory_for(g.size.bytes)) return true;
  if (when_full_ != config::full_policy::block || !patience_.any()) return false;
  return stored_ == 0 && unbegun_bytes() < 2 * memory_share() && (has_memory_for(0) || waits());
}

// With `drop_newest`, what has no room in memory is dropped if there is none for its entry either.
bool write_queue::may_store() const {
  if (!disk_->enabled()) return false;
  std::scoped_lock lock(mutex_);
  return when_full_ != config::full_policy::drop_newest || !disk_->entries_full();
}

bool write_queue::store(group& g) {
  const auto loaded = g.loaded_bytes();
  auto stored = disk_->store(g.batches);
  if (!stored) return false;
  g.stored = *std::move(stored);
  g.size.bytes = loaded;
  return true;
}

void write_queue::push(batches data, const remover& removed) {
  group g(std::move(data));
  for (auto& oldest : remove_entries()) removed(std::move(oldest));
  if (may_store() && !keeps_in_memory(g) && !store(g) && disk_->at_limit()) {
    bool freed = false;
    for (auto& oldest : remove_file(g.size.bytes)) {
      freed = freed || oldest.on_disk();
      removed(std::move(oldest));
    }
    if (freed) {
      disk_->freed();
      store(g);
    }
  }
  for (auto& other : add(std::move(g))) removed(std::move(other));
}

void write_queue::adopt(queued_group g) {
  if (g.on_disk()) disk_->adopt(g.stored);
  std::scoped_lock lock(mutex_);
  enqueue(std::move(g));
}

// Under the lock. The first group starts the delay; later ones wake the writer only when the write is due.
void write_queue::enqueue(group g) {
  if (g.on_disk()) patience_.stored(g.size.bytes, waits());
  meter_.add(static_cast<double>(g.queued().bytes));
  count(waiting_size_, g.queued(), 1);
  count_stored(g, 1);
  const auto now = g.arrived;
  waiting_.push_back(std::move(g));
  patience_.queued(now, !has_memory_for(0));
  if (waiting_.size() == 1 || due()) changed_.notify_all();
}

// Return what has no room.
std::vector<write_queue::group> write_queue::add(group g) {
  std::vector<group> removed;
  {
    std::scoped_lock lock(mutex_);
    if (when_full_ == config::full_policy::drop_newest && !g.on_disk() && unbegun_bytes() >= remove_at_) {
      removed.push_back(std::move(g));
      return removed;
    }
    enqueue(std::move(g));
  }
  return remove_from_memory();
}

// With `drop_oldest`, remove the oldest groups if the entries of those on disk take too much memory: two, because each push
// adds one.
std::vector<write_queue::group> write_queue::remove_entries() {
  std::vector<group> removed;
  if (!disk_->entries_full()) return removed;
  std::scoped_lock lock(mutex_);
  while (when_full_ == config::full_policy::drop_oldest && removed.size() < 2 && waiting_.size() > 1) {
    removed.push_back(remove(waiting_.front()));
    waiting_.pop_front();
  }
  return removed;
}

// With `drop_oldest`, remove the oldest groups until there is memory for `more` bytes, but of the groups on disk those of
// one file: when it is gone, the disk has room again. The newest group stays, whatever its size. Dead letters need memory:
// their lane must wait for it before it makes many of them.
std::vector<write_queue::group> write_queue::remove_file(std::uint64_t more) {
  std::vector<group> removed;
  const queue_segment* file = nullptr;
  auto left = disk_->removes_to_dead_letters() ? pool_.budget().limit() / 8 : UINT64_MAX;
  std::scoped_lock lock(mutex_);
  if (when_full_ != config::full_policy::drop_oldest) return removed;
  while (unbegun_bytes() + more > remove_at_ && waiting_.size() > 1 && left != 0) {
    auto& oldest = waiting_.front();
    if (file != nullptr && (!oldest.on_disk() || &oldest.stored.file() != file)) break;
    if (oldest.on_disk()) file = &oldest.stored.file();
    left -= std::min(left, oldest.size.bytes);
    removed.push_back(remove(oldest));
    waiting_.pop_front();
  }
  return removed;
}

// With `drop_oldest`, remove the oldest groups that are in memory until they fit. Those on disk stay: to remove them would
// free no memory, and no disk either while it fails. The newest group stays, whatever its size.
std::vector<write_queue::group> write_queue::remove_from_memory() {
  std::vector<group> removed;
  std::scoped_lock lock(mutex_);
  if (when_full_ != config::full_policy::drop_oldest) return removed;
  auto at = waiting_.begin();
  while (unbegun_bytes() > remove_at_ && !waiting_.empty()) {
    at = std::find_if(at, waiting_.end() - 1, [](const auto& g) { return !g.on_disk(); });
    if (at == waiting_.end() - 1) break;
    removed.push_back(remove(*at));
    at = waiting_.erase(at);
  }
  return removed;
}

// Under the lock. Return a waiting group, which no longer counts. The caller erases its empty entry.
write_queue::group write_queue::remove(group& from) {
  count_stored(from, -1);
  meter_.add(-static_cast<double>(from.queued().bytes));
  count(waiting_size_, from.queued(), -1);
  return std::move(from);
}

// Under the lock. A joined group is written as a whole: it takes a quarter of a write at most.
bool write_queue::may_join(const group& first, const group& later) const {
  const auto rows = std::min(batch_.rows, batch_.max_rows);
  return later.on_disk() && &first.stored.file() == &later.stored.file() &&
         first.size.rows + later.size.rows <= rows / 4 &&
         first.size.write_bytes + later.size.write_bytes <= batch_.max_bytes / 4 &&
         first.size.bytes + later.size.bytes <= memory_of_write() / 4;
}

void write_queue::join_stored(const settlement_inbox& lane) {
  std::scoped_lock lock(mutex_);
  if (stored_ < 2) return;
  group* first = nullptr;  // the group that may take the next ones of this lane
  auto end = waiting_.begin();
  for (auto& g : waiting_) {
    const auto is_of = g.on_disk() ? g.stored.is_of(lane) : std::nullopt;
    if (is_of == true && first != nullptr && may_join(*first, g)) {
      first->append(std::move(g));
      continue;
    }
    if (first != nullptr && is_of != false) first->stored.join_settlements();
    if (is_of != false) first = is_of ? &*end : nullptr;
    if (&*end != &g) *end = std::move(g);
    ++end;
  }
  if (first != nullptr) first->stored.join_settlements();
  waiting_.erase(end, waiting_.end());
}

void write_queue::release_lost() {
  std::vector<group> lost;
  {
    std::scoped_lock lock(mutex_);
    changed_.notify_all();
    if (std::ranges::none_of(waiting_, &group::lost)) return;
    std::deque<group> kept;
    for (auto& g : waiting_) g.lost() ? lost.push_back(remove(g)) : kept.push_back(std::move(g));
    waiting_ = std::move(kept);
  }
  const bool from_disk = std::ranges::any_of(lost, &group::on_disk);
  for (auto& g : lost) g.mark_lost();
  if (from_disk) free_if_drained();
}

// Without the lock, after groups that were on disk are gone.
void write_queue::free_if_drained() {
  std::unique_lock lock(mutex_);
  const bool drained = stored_ == 0;
  lock.unlock();
  if (drained) disk_->drained();
}

void write_queue::when_full(config::full_policy policy) {
  std::scoped_lock lock(mutex_);
  when_full_ = policy;
}

// Bytes of memory at which lanes wait. Where the disk has no room, half of the memory is for this queue: the lane must have
// memory left, to notice that there is room again.
std::uint64_t write_queue::full_at() const {
  return disk_->enabled() ? std::min(max_bytes_, pool_.budget().limit() / 2) : max_bytes_;
}

// Under the lock. The memory that may wait: beyond it, lanes wait, or groups go to disk or are removed.
std::uint64_t write_queue::memory_limit() const {
  return std::min(when_full_ == config::full_policy::block ? full_at() : remove_at_, pool_.budget().limit());
}

// Under the lock. Small batches hold much more memory than is written of them, so memory limits a write, too: `full` does
// not count what is taken.
std::uint64_t write_queue::memory_of_write() const { return std::max(batch_.max_bytes, memory_limit() / 4); }

// Under the lock. Once memory is scarce, lanes stop reading: what fills a write is then not kept until the delay ends.
bool write_queue::due() const {
  const auto& budget = pool_.budget();
  const bool scarce = budget.used() >= budget.limit() / 4 * 3;
  return flushing_ > 0 || closed_ || stored_ != 0 || waits() ||
         waiting_size_.rows >= std::min(batch_.rows, batch_.max_rows) ||
         waiting_size_.write_bytes >= batch_.max_bytes ||
         waiting_size_.bytes >= std::min(memory_limit(), scarce ? batch_.max_bytes : memory_of_write());
}

write_queue::batches write_queue::take() {
  while (true) {
    auto groups = take_groups();
    if (groups.empty()) return {};
    if (auto taken = load(std::move(groups)); !taken.empty()) return taken;
    taken_is_done({});  // none of them can be written
  }
}

std::vector<write_queue::group> write_queue::take_groups() {
  std::unique_lock lock(mutex_);
  do {
    changed_.wait(lock, [&] { return !waiting_.empty() || closed_ || held_; });
    if (!waiting_.empty())
      changed_.wait_until(lock, waiting_.front().arrived + batch_.delay, [&] { return due() || held_; });
  } while (waiting_.empty() && !closed_ && !held_);  // release_lost removed what waited
  ended_ = held_;
  if (held_) return {};
  patience_.begin_write(std::chrono::steady_clock::now());
  return take_due(taken_size_, false);
}

// Under the lock. in_memory: stop at a group that `load` would have to look at.
std::vector<write_queue::group> write_queue::take_due(amount& to, bool in_memory) {
  std::vector<group> taken;
  const auto memory = memory_of_write();
  const auto fits = [&](const amount& more) {
    return to.write_bytes + more.write_bytes <= batch_.max_bytes && to.rows + more.rows <= batch_.max_rows &&
           to.bytes + more.bytes <= memory;
  };
  while (!waiting_.empty() && (taken.empty() || fits(waiting_.front().size))) {
    auto& g = waiting_.front();
    if (in_memory && (g.on_disk() || g.lost())) break;
    count(to, g.size, 1);
    count(waiting_size_, g.queued(), -1);
    if (g.on_disk()) meter_.add(static_cast<double>(g.size.bytes));
    count_stored(g, -1);
    taken.push_back(std::move(g));
    waiting_.pop_front();
  }
  return taken;
}

std::vector<queued_group> write_queue::take_next() {
  std::scoped_lock lock(mutex_);
  if (waiting_.empty() || held_ || abandoned_ || next_size_.groups != 0) return {};
  if (!due() && std::chrono::steady_clock::now() < waiting_.front().arrived + batch_.delay) return {};
  return take_due(next_size_, true);
}

void write_queue::put_back(std::vector<queued_group> next) {
  std::scoped_lock lock(mutex_);
  meter_.add(-static_cast<double>(next_size_.bytes));
  next_size_ = {};
  for (; !next.empty(); next.pop_back()) put_first(std::move(next.back()));
}

// Under the lock.
void write_queue::put_first(group g) {
  meter_.add(static_cast<double>(g.size.bytes));
  count(waiting_size_, g.size, 1);
  waiting_.push_front(std::move(g));
}

write_queue::batches write_queue::load(queued_group g) {
  std::vector<group> one;
  one.push_back(std::move(g));
  return load(std::move(one));
}

// Without the lock: lanes push while this reads from disk.
write_queue::batches write_queue::load(std::vector<group> groups) {
  batches taken;
  bool from_disk = false;
  for (auto& g : groups) {
    from_disk = from_disk || g.on_disk();
    if (g.lost()) {
      g.mark_lost();
    } else if (g.on_disk() && abandoned()) {
      g.mark_undelivered();
    } else if (g.on_disk()) {
      auto loaded = g.stored.load(pool_);
      if (loaded.ok())
        std::ranges::move(*loaded, std::back_inserter(taken));
      else
        disk_->report_damage(loaded.why(), g.size.rows);
    } else {
      std::ranges::move(g.batches, std::back_inserter(taken));
    }
  }
  if (from_disk) free_if_drained();
  return taken;
}

void write_queue::taken_is_done(std::vector<batches> unwritten) {
  std::scoped_lock lock(mutex_);
  meter_.add(-static_cast<double>(taken_size_.bytes));
  const auto now = std::chrono::steady_clock::now();
  patience_.end_write(taken_size_.bytes, now);
  taken_size_ = std::exchange(next_size_, {});
  if (taken_size_.groups != 0) patience_.begin_write(now);
  for (; !unwritten.empty(); unwritten.pop_back()) put_first(group(std::move(unwritten.back())));
}

write_queue::next_step write_queue::wait_before_retry(std::chrono::nanoseconds time,
                                                      const std::function<bool()>& lost) {
  std::unique_lock lock(mutex_);
  const auto finished = [&] { return closed_ && waiting_.empty() && taken_size_.groups == 0; };
  changed_.wait_for(lock, time, [&] { return abandoned_ || held_ || finished() || lost(); });
  return abandoned_ ? next_step::give_up : held_ || finished() ? next_step::leave_queued : next_step::attempt;
}

void write_queue::flush(bool on) {
  std::scoped_lock lock(mutex_);
  flushing_ += on ? 1 : -1;
  changed_.notify_all();
}

void write_queue::close() {
  std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void write_queue::abandon() {
  std::scoped_lock lock(mutex_);
  abandoned_ = true;
  changed_.notify_all();
}

bool write_queue::abandoned() const {
  std::scoped_lock lock(mutex_);
  return abandoned_;
}

void write_queue::hold() {
  std::scoped_lock lock(mutex_);
  held_ = true;
  changed_.notify_all();
}

bool write_queue::release() {
  std::scoped_lock lock(mutex_);
  held_ = false;
  return std::exchange(ended_, false);
}

bool write_queue::held() const {
  std::scoped_lock lock(mutex_);
  return held_;
}

std::vector<queued_group> write_queue::take_all() {
  std::scoped_lock lock(mutex_);
  std::vector<queued_group> all(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(waiting_.end()));
  waiting_.clear();
  meter_.add(-static_cast<double>(waiting_size_.bytes));
  waiting_size_ = {};
  disk_meter_.add(-static_cast<double>(std::exchange(stored_, 0)));
  return all;
}

// A queue that removes groups is never full. Groups without positions cannot be stored on disk: room there is of no use.
bool write_queue::full() const {
  {
    std::scoped_lock lock(mutex_);
    if (!has_memory_for(0) && waits()) return true;
    if (when_full_ != config::full_policy::block || waiting_size_.bytes < full_at()) return false;
    if (!waiting_.empty() && lacks_positions(waiting_.back().batches)) return true;
  }
  return !disk_->has_room();
}

bool write_queue::half_empty() const {
  return unwritten().bytes * 2 < remove_at_ && disk_->bytes() * 2 <= disk_->limit();
}

write_queue::amount write_queue::unwritten() const {
  std::scoped_lock lock(mutex_);
  auto all = waiting_size_;
  for (const auto* taken : {&taken_size_, &next_size_}) {
    all.groups += taken->groups;
    all.rows += taken->rows;
    all.bytes += taken->bytes;
    all.write_bytes += taken->write_bytes;
  }
  return all;
}

}  // namespace pl::engine
