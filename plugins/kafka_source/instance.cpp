// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include <pipeline/hash.hpp>
#include <pipeline/posix.hpp>
#include <pipeline/text.hpp>

#include <fcntl.h>
#include <kafka_common/properties.hpp>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace kafka {

namespace {

constexpr unsigned most_slots = 1000;

// Kafka's own clients allow the characters of a topic name in an instance id.
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
  const auto hash = pl::fnv1a_32(text);
  std::string hex;
  for (int shift = 24; shift >= 0; shift -= 8) pl::append_hex(hex, static_cast<char>(hash >> shift));
  return hex;
}

// A broker returns the old partitions to a static member that rejoins, even if its subscription has changed
// (KAFKA-12759). Members that read other topics must therefore have another id.
std::string listed(std::span<const std::string> topics) {
  std::vector<std::string> sorted(topics.begin(), topics.end());
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const auto& topic : sorted) text += topic + '\n';
  return text;
}

// Two hosts with separate state directories both have slot 0; the path distinguishes them.
std::string full_path(std::string_view directory) {
  std::error_code error;
  return std::filesystem::absolute(std::filesystem::path(directory), error).lexically_normal().string();
}

membership automatic(const pl::context& ctx, std::string_view host_name, std::span<const std::string> topics) {
  if (looks_random(host_name)) {
    ctx.info("the host name '" + std::string(host_name) +
             "' looks like a container's: the group membership is dynamic, and after a crash the partitions are not "
             "read until the session times out; to avoid this, set 'instance' to a permanent name, such as a "
             "StatefulSet's pod name");
    return {};
  }
  const auto stem = as_identifier(std::string(ctx.pipeline()) + "." + std::string(ctx.node()));
  const auto lane = lane_suffix(ctx);
  auto slot = instance_slot::take(std::filesystem::path(ctx.state_dir()), stem, lane);
  if (!slot.ok()) {
    ctx.warn(slot.why().message +
             ": the group membership is dynamic, and after a crash the partitions are not read until the session "
             "times out; make the state directory writable or set 'instance' to a name");
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
  if (const auto error = pl::make_folders(directory))
    return pl::retry("cannot create the state directory " + directory.string() + ": " + error.message());
  for (unsigned n = 0; n < most_slots; ++n) {
    const auto file = directory / (stem + ".slot-" + std::to_string(n) + (lane.empty() ? "" : "." + lane) + ".lock");
    pl::descriptor lock(open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, pl::data_file_mode));
    if (!lock) return pl::retry("cannot open the lock file " + file.string() + ": " + std::strerror(errno));
    if (flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return instance_slot(std::move(lock), n);
    if (errno != EWOULDBLOCK) return pl::retry("cannot lock " + file.string() + ": " + std::strerror(errno));
  }
  return pl::retry("all " + std::to_string(most_slots) + " slots in " + directory.string() + " are taken");
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
  constexpr std::size_t longest = 200;  // leaves room for the suffixes, within Kafka's limit of 249
  if (name.empty()) return "must not be empty; set auto, dynamic, or a name that is unique in the group";
  if (name.size() > longest) return "the instance name is longer than 200 characters";
  if (as_identifier(name) == name && name != "." && name != "..") return {};
  return "'" + std::string(name) + "' is not a valid instance name: Kafka allows letters, digits, '.', '_' and '-'";
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
