// SPDX-License-Identifier: Apache-2.0
#include "host/seen_sink.hpp"

#include <pipeline/plugin.hpp>

#include <algorithm>
#include <fstream>
#include <utility>

namespace pl::host {

namespace {

// Each line of the file: first, next, stream.
class seen_sink final : public sink {
 public:
  struct options {
    std::string path;
    static option_table<options> table() {
      return {option(&options::path, "path", "Where to note the records.").required()};
    }
  };
  static description describe() {
    return {.name = seen_sink_name,
            .doc = "Notes the records of the rows and discards the rows.",
            .example = "plugin: seen_sink\nfrom: parsed\npath: seen.txt\n"};
  }
  seen_sink(options o, context) : path_(std::move(o.path)) {}

  result<void> start() override {
    out_.open(path_, std::ios::binary);
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }
  result<void> write(const batch_list& batches) override {
    for (const auto b : batches) {
      if (b.has_positions())
        for (const auto row : b.selection()) note(b.position(row), b.position(row) + 1, b.stream(row));
      else if (b.selected() != 0)
        for (const auto& r : b.ranges()) note(r.first, r.next, view(r.stream));
    }
    out_.flush();
    return out_ ? result<void>{} : fatal("cannot write " + path_);
  }

 private:
  void note(std::uint64_t first, std::uint64_t next, std::string_view stream) {
    out_ << first << ' ' << next << ' ' << stream << '\0';
  }
  const std::string path_;
  std::ofstream out_;
};

}  // namespace

const pl_plugin& seen_sink_plugin() {
  static const pl_plugin plugin = detail::make_plugin<seen_sink>("1");
  return plugin;
}

result<seen_records> seen_records::read(const std::filesystem::path& file) {
  seen_records seen;
  std::ifstream in(file, std::ios::binary);
  std::uint64_t first = 0, next = 0;
  std::string stream;
  while (in >> first >> next && in.get() == ' ' && std::getline(in, stream, '\0'))
    if (auto& of = seen.streams_[stream]; next == first + 1)
      of.positions.insert(first);
    else
      of.ranges.emplace_back(first, next);
  if (in.bad()) return fatal("cannot read " + file.string());
  return seen;
}

bool seen_records::contains(const std::string& stream, std::uint64_t position) const {
  const auto of = streams_.find(stream);
  return of != streams_.end() &&
         (of->second.positions.contains(position) || std::ranges::any_of(of->second.ranges, [&](const auto& r) {
            return r.first <= position && position < r.second;
          }));
}

}  // namespace pl::host
