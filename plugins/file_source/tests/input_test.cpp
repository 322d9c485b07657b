// SPDX-License-Identifier: Apache-2.0
#include "harness.hpp"

#include <pipeline/posix.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <string_view>
#include <thread>

namespace {

// Replaces standard input by a pipe, as long as it lives.
class piped_input {
 public:
  piped_input() : before_(::dup(STDIN_FILENO)) {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    ::dup2(ends[0], STDIN_FILENO);
    ::close(ends[0]);
    out_ = pl::descriptor(ends[1]);
  }
  ~piped_input() { ::dup2(before_.get(), STDIN_FILENO); }
  piped_input(const piped_input&) = delete;
  piped_input& operator=(const piped_input&) = delete;

  void write(std::string_view text) const {
    while (!text.empty()) {
      const auto n = ::write(out_.get(), text.data(), text.size());
      REQUIRE(n > 0);
      text.remove_prefix(static_cast<std::size_t>(n));
    }
  }
  void end() { out_ = pl::descriptor(); }

 private:
  pl::descriptor before_, out_;
};

}  // namespace

TEST_CASE("standard input: each line is a record at its byte offset, and the stream ends with the input") {
  temp_dir dir;
  piped_input in;
  running r(dir);
  r.start({{"path", "-"}});
  in.write("\xEF\xBB\xBFone\n\ntwo\r\nth");
  CHECK(r.poll() == PL_OK);
  CHECK(r.poll() == PL_AGAIN);
  in.write("ree");
  in.end();
  CHECK(r.poll() == PL_AGAIN);  // the line may be incomplete
  r.drain();
  CHECK(r.all == std::vector<record>{{"one", 0}, {"two", 8}, {"three", 13}});
  CHECK(r.poll() == PL_END);
  CHECK(r.host.assigned_streams() == texts{"-"});
}

TEST_CASE("standard input: lines are returned once, for any max_rows, and each run begins anew") {
  temp_dir dir;
  std::string text;
  texts expected;
  for (int i = 0; i < 5'000; ++i) {
    expected.push_back("line " + std::to_string(i) + std::string(static_cast<std::size_t>(i % 97), 'x'));
    text += expected.back() + "\n";
  }
  for (const std::uint32_t max_rows : {1U, 7U, 100'000U}) {
    piped_input in;
    std::thread writer([&] {
      in.write(text);
      in.end();
    });
    running r(dir);
    r.host.resume_at("-", 0);
    r.start({{"path", "-"}});
    for (pl_status s = PL_OK; s == PL_OK || s == PL_AGAIN;) s = r.poll(max_rows);
    writer.join();
    CHECK(r.values() == expected);
  }
}

TEST_CASE("standard input: a line that is too long is truncated with a warning, and the next lines are complete") {
  temp_dir dir;
  piped_input in;
  std::thread writer([&] {
    in.write("before\n" + std::string(500'000, 'x') + "\nafter\n");
    in.end();
  });
  running r(dir);
  r.start({{"path", "-"}, {"max_line", pl::byte_size{1'000}}});
  for (pl_status s = PL_OK; s == PL_OK || s == PL_AGAIN;) s = r.poll();
  writer.join();
  CHECK(r.all == std::vector<record>{{"before", 0}, {std::string(1'000, 'x'), 7}, {"after", 500'008}});
  REQUIRE(!r.host.logs().empty());
  CHECK(r.host.logs()[0].message.find("-: 1 line before byte") == 0);
}

TEST_CASE("standard input: more_paths is an error, and a second start as well") {
  temp_dir dir;
  piped_input in;
  running both(dir);
  both.source = std::make_unique<pl::testing::instance>(
      both.host, file_source(), config_fields{{"path", "-"}, {"more_paths", pl::testing::list({"x"})}});
  CHECK(both.source->create() == PL_FATAL);
  running r(dir);
  r.start({{"path", "-"}});
  CHECK(r.source->start() == PL_FATAL);
  CHECK(r.host.error_text().find("standard input cannot be read again") != std::string::npos);
}
