// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include <fcntl.h>
#include <kafka_common/properties.hpp>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <utility>
#include <vector>

namespace kafka {

namespace {

constexpr unsigned most_slots = 1000;

// Kafka's own clients allow in an instance's id what a topic's name may hold.
std::string as_identifier(std::string_view text) {
  std::string id(text);
  std::replace_if(
      id.begin(), id.end(), [](char c) { return !topic_name_fault(std::string_view(&c, 1)).empty() && c != '.'; }, '_');
  return id;
}

std::string lane_suffix(const pl::context& ctx) {
  return ctx.lanes() > 1 ? "lane-" + std::to_string(ctx.lane()) : std::string{};
}

std::string hash_of(std::string_view text) {
  std::uint32_t hash = 2166136261;  // FNV-1a: the same after each restart, which std::hash doesn't promise
  for (const unsigned char c : text) hash = (hash ^ c) * 16777619;
  std::array<char, 9> hex{};
  std::snprintf(hex.data(), hex.size(), "%08x", hash);
  return hex.data();
}

// A broker gives a static member that comes back what it had, whatever it asks for now (KAFKA-12759): who reads other
// topics must be somebody else.
std::string listed(std::span<const std::string> topics) {
  std::vector<std::string> sorted(topics.begin(), topics.end());
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const auto& topic : sorted) text += topic + '\n';
  return text;
}

// Two hosts with a state directory each both have slot 0 in it.
std::string full_path(std::string_view directory) {
  std::error_code error;
  return std::filesystem::absolute(std::filesystem::path(directory), error).lexically_normal().string();
}

membership automatic(const pl::context& ctx, std::string_view host_name, std::span<const std::string> topics) {
  if (looks_random(host_name)) {
    ctx.info("the host name '" + std::string(host_name) +
             "' looks like a container's: the group membership is dynamic, and after a crash the partitions wait for "
             "the session time-out; give 'instance' a lasting name (a StatefulSet's pod, say) to avoid that");
    return {};
  }
  const auto stem = as_identifier(std::string(ctx.pipeline()) + "." + std::string(ctx.node()));
  const auto lane = lane_suffix(ctx);
  auto slot = instance_slot::take(std::filesystem::path(ctx.state_dir()), stem, lane);
  if (!slot.ok()) {
    ctx.warn(slot.why().message +
             ": the group membership is dynamic, and after a crash the partitions wait for the session time-out; make "
             "the state directory writable or give 'instance' a name");
    return {};
  }
  auto id = stem + "." + as_identifier(host_name) + "." + hash_of(full_path(ctx.state_dir()) + '\n' + listed(topics)) +
            ".slot-" + std::to_string(slot->number());
  if (!lane.empty()) id += "." + lane;
  return {std::move(id), std::move(slot).value()};
}

}  // namespace

pl::result<instance_slot> instance_slot::take(const std::filesystem::path& directory, const std::string& stem,
                                              const std::string& lane) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return pl::retry("can't create the state directory " + directory.string() + ": " + error.message());
  for (unsigned n = 0; n < most_slots; ++n) {
    const auto file = directory / (stem + ".slot-" + std::to_string(n) + (lane.empty() ? "" : "." + lane) + ".lock");
    const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock < 0) return pl::retry("can't open the lock " + file.string() + ": " + std::strerror(errno));
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) return instance_slot(lock, n);
    const int why = errno;
    close(lock);
    if (why != EWOULDBLOCK) return pl::retry("can't lock " + file.string() + ": " + std::strerror(why));
  }
  return pl::retry("all " + std::to_string(most_slots) + " slots in " + directory.string() + " are taken");
}

instance_slot::instance_slot(instance_slot&& other) noexcept
    : lock_(std::exchange(other.lock_, -1)), number_(other.number_) {}

instance_slot::~instance_slot() {
  if (lock_ >= 0) close(lock_);
}

membership join_as(std::string_view instance, const pl::context& ctx, std::string_view host_name,
                   std::span<const std::string> topics) {
  if (instance == "dynamic") return {};
  if (instance == "auto") return automatic(ctx, host_name, topics);
  auto id = std::string(instance) + "." + hash_of(listed(topics));
  if (const auto lane = lane_suffix(ctx); !lane.empty()) id += "." + lane;
  return {std::move(id), std::nullopt};
}

std::string instance_name_fault(std::string_view name) {
  constexpr std::size_t longest = 200;  // leaves room for what we add, within Kafka's 249
  if (name.empty()) return "an instance needs a name; write auto, dynamic, or a name that is unique in the group";
  if (name.size() > longest) return "the instance's name is longer than 200 characters";
  if (as_identifier(name) == name && name != "." && name != "..") return {};
  return "'" + std::string(name) + "' can't be an instance's name: Kafka allows letters, digits, '.', '_' and '-'";
}

bool looks_random(std::string_view host_name) {
  constexpr std::size_t docker_id = 12;
  return host_name.size() == docker_id && host_name.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string this_host() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

}  // namespace kafka
