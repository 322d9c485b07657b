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

TEST_CASE("slots: the lowest free one, the same again after a restart") {
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

TEST_CASE("slots: a killed process gives its slot back") {
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

TEST_CASE("slots: a state directory that can't be written") {
  CHECK_FALSE(instance_slot::take("/proc/nothing/here", "p.n", "").ok());
}

TEST_CASE("instance: automatic, named, dynamic; lanes are members of their own") {
  scratch_directory state;
  pl::testing::fake_host host;
  host.raw().state_dir = pl::borrow(state.path());
  const pl::context ctx(&host.raw());
  const auto first = kafka::join_as("auto", ctx, "edge-7");
  CHECK(first.id == "test.node.edge-7.slot-0");
  CHECK(kafka::join_as("auto", ctx, "edge-7").id == "test.node.edge-7.slot-1");
  CHECK(kafka::join_as("pod-3", ctx, "edge-7").id == "pod-3");
  CHECK(kafka::join_as("dynamic", ctx, "edge-7").id.empty());
  CHECK(kafka::join_as("auto", ctx, "3f2a9c0b1d4e").id.empty());  // a container's random name
  host.raw().lanes = 2;
  host.raw().lane = 1;
  CHECK(kafka::join_as("auto", ctx, "edge 7").id == "test.node.edge_7.slot-0.lane-1");
  CHECK(kafka::join_as("pod-3", ctx, "edge-7").id == "pod-3.lane-1");
  host.raw().state_dir = pl::borrow("/proc/nothing/here");
  CHECK(kafka::join_as("auto", ctx, "edge-7").id.empty());
  CHECK(host.logs().back().level == PL_LOG_WARN);
}

TEST_CASE("instance: names that Kafka would refuse") {
  CHECK(kafka::instance_name_fault("pod-1.a_b").empty());
  CHECK_FALSE(kafka::instance_name_fault("").empty());
  CHECK_FALSE(kafka::instance_name_fault("pod 1").empty());
  CHECK_FALSE(kafka::instance_name_fault(std::string(201, 'a')).empty());
}
