// SPDX-License-Identifier: Apache-2.0
#include "instance.hpp"

#include "mock_kafka.hpp"

#include <sys/wait.h>

using kafka::instance_slot;
using kafka::test::scratch_directory;

namespace {

unsigned slot_number(const pl::result<instance_slot>& slot) {
  REQUIRE(slot.ok());
  return slot.value().number();
}

}  // namespace

TEST_CASE("slots: a process takes the lowest free slot, the same one after a restart") {
  scratch_directory state;
  std::optional<pl::result<instance_slot>> first = instance_slot::take(state.path(), "p.n", "");
  auto second = instance_slot::take(state.path(), "p.n", "");
  CHECK(slot_number(*first) == 0);
  CHECK(slot_number(second) == 1);
  CHECK(slot_number(instance_slot::take(state.path(), "p.other", "")) == 0);
  CHECK(slot_number(instance_slot::take(state.path(), "p.n", "lane-1")) == 0);
  first.reset();
  CHECK(slot_number(instance_slot::take(state.path(), "p.n", "")) == 0);
  CHECK(std::filesystem::exists(state.path() + "/p.n.slot-0.lock"));
}

TEST_CASE("slots: the slot of a killed process is free again") {
  scratch_directory state;
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const auto child = fork();
  if (child == 0) {
    const auto held = instance_slot::take(state.path(), "p.n", "");
    const char byte = held.ok() && held.value().number() == 0 ? 'y' : 'n';
    (void)!write(ready[1], &byte, 1);
    pause();
    _exit(0);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  CHECK(byte == 'y');
  CHECK(slot_number(instance_slot::take(state.path(), "p.n", "")) == 1);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(slot_number(instance_slot::take(state.path(), "p.n", "")) == 0);
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("slots: a state directory that is not writable is an error") {
  CHECK_FALSE(instance_slot::take("/proc/nothing/here", "p.n", "").ok());
}

TEST_CASE("instance: automatic, named, dynamic; each lane is a member") {
  scratch_directory state;
  pl::testing::fake_host host;
  host.raw().state_dir = pl::borrow(state.path());
  const pl::context ctx(&host.raw());
  const std::vector<std::string> topics{"a", "b"};
  const auto join = [&](std::string_view instance, std::string_view host_name = "edge-7") {
    return kafka::join_as(instance, ctx, host_name, topics);
  };
  const auto first = join("auto");
  CHECK(first.id.starts_with("test.node.edge-7."));
  CHECK(first.id.ends_with(".slot-0"));
  CHECK(join("auto").id == first.id.substr(0, first.id.size() - 1) + "1");
  const auto pod = join("pod-3").id;
  CHECK(pod.starts_with("pod-3."));
  CHECK(pod.size() == 14);
  CHECK(join("dynamic").id.empty());
  CHECK(join("auto", "3f2a9c0b1d4e").id.empty());  // a container's random name
  host.raw().lanes = 2;
  host.raw().lane = 1;
  const auto lane = join("auto", "edge 7");
  CHECK(lane.id.starts_with("test.node.edge_7."));
  CHECK(lane.id.ends_with(".slot-0.lane-1"));
  CHECK(join("pod-3").id == pod + ".lane-1");
  host.raw().state_dir = pl::borrow("/proc/nothing/here");
  CHECK(join("auto").id.empty());
  CHECK(host.logs().back().level == PL_LOG_WARN);
}

TEST_CASE("instance: the name is stable over restarts and differs by state directory and topics") {
  scratch_directory state, other;
  pl::testing::fake_host host;
  const pl::context ctx(&host.raw());
  const auto id = [&](const scratch_directory& directory, const std::vector<std::string>& topics,
                      std::string_view instance = "auto") {
    host.raw().state_dir = pl::borrow(directory.path());
    return kafka::join_as(instance, ctx, "edge-7", topics).id;
  };
  CHECK(id(state, {"a"}, "pod-3") == id(other, {"a"}, "pod-3"));
  CHECK(id(state, {"a"}, "pod-3") != id(state, {"b"}, "pod-3"));
  CHECK(id(state, {"a", "b"}) == id(state, {"b", "a"}));
  CHECK(id(state, {"a", "b"}) != id(other, {"a", "b"}));
  CHECK(id(state, {"a", "b"}) != id(state, {"a"}));
}

TEST_CASE("instance: names that Kafka does not allow are rejected") {
  CHECK(kafka::instance_name_fault("pod-1.a_b").empty());
  CHECK_FALSE(kafka::instance_name_fault("").empty());
  CHECK_FALSE(kafka::instance_name_fault("pod 1").empty());
  CHECK_FALSE(kafka::instance_name_fault(std::string(201, 'a')).empty());
}
