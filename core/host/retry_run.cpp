// SPDX-License-Identifier: Apache-2.0
#include "host/retry_run.hpp"

#include "host/dead_letter_row.hpp"
#include "host/dead_letter_row_source.hpp"
#include "host/dead_letter_source.hpp"
#include "host/dead_letter_store.hpp"
#include "host/seen_sink.hpp"

#include <file_common/each_line.hpp>
#include <file_common/line_rewrite.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <system_error>
#include <unordered_map>

namespace pl::host {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view seen_node = "records that reach a sink";

// Files in the work folder of this run.
fs::path items_in(const fs::path& work) { return work / "items.ndjson"; }
fs::path rejected_in(const fs::path& work) { return work / "rejected.ndjson"; }
fs::path seen_in(const fs::path& work) { return work / "seen"; }

// ---------------------------------------------------------------------------------------------- the pipeline of a run ---

config::node sink_node(std::string name, std::string_view plugin, const config::pipeline& p,
                       std::vector<config::value> options) {
  config::node n;
  n.role = config::role::sink;
  n.name = std::move(name);
  n.plugin = plugin;
  n.where = n.plugin_where = p.where;
  set_options(n, std::move(options));
  return n;
}

// Add a sink that reads what all others read, and notes which records arrive.
void add_seen_sink(config::pipeline& p, const fs::path& work) {
  auto seen = sink_node(std::string(seen_node), seen_sink_name, p, {text_option("path", seen_in(work).string())});
  for (const auto& s : p.sinks)
    for (const auto& in : s.from)
      if (std::ranges::none_of(seen.from, [&](const auto& i) { return i.node == in.node && i.port == in.port; }))
        seen.from.push_back(in);
  p.sinks.push_back(std::move(seen));
}

// Return the pipeline with the dead letters in place of the source. Delivery is at_least_once, so that positions in
// sinks stay untouched.
config::pipeline for_retry(config::pipeline p, const std::string& source, const std::vector<std::string>& sinks,
                           const retry_group& group, const fs::path& work) {
  auto from = *std::ranges::find(p.sources, source, &config::node::name);
  from.plugin = group.what == retried::row ? dead_letter_row_source_name : dead_letter_source_name;
  from.lanes = p.lanes = 1;
  set_options(from, {text_option("path", items_in(work).string())});
  if (group.what == retried::row) {
    enter_at(p, group.node, std::move(from));
  } else {
    keep_below(p, source);
    if (const auto* node = p.find(group.node); node != nullptr && node->role != config::role::source)
      keep_through(p, group.node);
    p.sources = {std::move(from)};
  }
  if (!sinks.empty()) std::erase_if(p.sinks, [&](const auto& s) { return std::ranges::count(sinks, s.name) == 0; });
  keep_above_sinks(p);
  p.delivery = config::delivery::at_least_once;
  for (auto& s : p.sinks) s.delivery.reset(), s.when_full = config::full_policy::block;  // write all that is read
  if (group.what == retried::record) add_seen_sink(p, work);
  // Use a separate state directory, so that the run does not share locks and client ids with a running host.
  p.state_dir = (work / "state").string();
  p.dead_letters = sink_node("dead_letters", "file_sink", p,
                             {text_option("path", without_braces(rejected_in(work))), text_option("fsync", "never")});
  p.dead_letters->collapse.originals = 0;  // `fates` needs the dead letter of each item
  return p;
}

// Add a stream and a position to a dead letter without them, so that a new dead letter for the record can be matched.
std::string with_place(const retry_item& item, const std::string& line) {
  if (item.stream != nameless_stream || !item.position) return line;
  return fmt::format("{{\"stream\":\"{}\",\"position\":{},{}", nameless_stream, *item.position,
                     std::string_view(line).substr(line.find('{') + 1));
}

result<void> write_items(const retry_group& group, const fs::path& to) {
  std::ofstream out(to, std::ios::binary);
  for (const auto& item : group.items)
    out << with_place(item, item.whole.empty() ? item.lines.front() : item.whole) << '\n';
  out.close();
  return out ? result<void>{}
             : fatal(fmt::format("cannot write {}: {}", to.string(), std::generic_category().message(errno)));
}

// -------------------------------------------------------------------------------------------------------- conclusion ---

// Reads the dead letters that a run wrote, and finds the items that they are about.
class new_letters {
 public:
  explicit new_letters(const retry_group& group) : group_(group), rejected_(group.items.size()) {
    for (std::size_t i = 0; i < group.items.size(); ++i) items_[identity_of(group.items[i])].push_back(i);
  }

  result<void> read(const fs::path& file) {
    std::error_code ignored;
    if (!fs::exists(file, ignored)) return {};
    result<void> unknown;
    auto read = files::each_line(file, [&](std::string_view line) {
      if (!take(std::string(line))) unknown = fatal(fmt::format("{} rejected a row that was not retried", group_.node));
    });
    return read.ok() ? unknown : read;
  }
  [[nodiscard]] bool rejected(std::size_t item) const { return rejected_[item]; }
  [[nodiscard]] const std::string& lines() const noexcept { return lines_; }

 private:
  [[nodiscard]] bool rows_at_sink() const { return group_.at_sink && group_.what == retried::row; }

  static std::string place(const dead_letter& l) {
    return l.stream + '\0' + (l.position ? std::to_string(*l.position) : std::string());
  }
  // Return what identifies a dead letter of this run: at a sink the row, elsewhere the record.
  [[nodiscard]] std::string identity_of(const dead_letter& l) const {
    const auto row = rows_at_sink() ? row_of(l) : std::nullopt;
    return row ? row_identity(l, *row) : place(l);
  }
  [[nodiscard]] std::string identity_of(const retry_item& item) const {
    auto l = *parse_dead_letter(item.lines.front());
    l.stream = item.stream.empty() ? nameless_stream : item.stream;  // as the sources name it
    l.position = item.position;
    return identity_of(l);
  }

  // Return false if a row at a sink is not one of the items. Elsewhere, a timer may have made a row without a record.
  bool take(std::string line) {
    const auto l = parse_dead_letter(line);
    if (!l) return true;
    const auto found = items_.find(identity_of(*l));
    if (found == items_.end() && rows_at_sink()) return false;
    if (found != items_.end()) {
      const auto item = not_rejected(found->second);
      rejected_[item] = true;
      // The run of a row does not have the original record.
      if (group_.what == retried::row && l->node == group_.node)
        line = with_new_reason(group_.items[item].lines.front(), line);
    }
    lines_ += line + '\n';
    return true;
  }

  // Return one of these copies of a row that has no new dead letter yet, if there is one.
  [[nodiscard]] std::size_t not_rejected(const std::vector<std::size_t>& copies) const {
    const auto at = std::ranges::find_if(copies, [&](std::size_t i) { return !rejected_[i]; });
    return at == copies.end() ? copies.back() : *at;
  }

  const retry_group& group_;
  std::unordered_map<std::string, std::vector<std::size_t>> items_;  // several: copies of a row
  std::vector<bool> rejected_;
  std::string lines_;
};

enum class fate : std::uint8_t { delivered, rejected, without_row };

// Decide what happened to the first `tried` items. Set `added` to the new dead letters.
result<std::vector<fate>> fates(const retry_group& group, std::uint64_t tried, const fs::path& work,
                                std::string& added) {
  new_letters again(group);
  if (auto r = again.read(rejected_in(work)); !r.ok()) return r.why();
  const auto seen = seen_records::read(seen_in(work));
  if (!seen.ok()) return seen.why();
  std::vector<fate> all;
  for (std::size_t i = 0; i < tried; ++i) {
    const auto& item = group.items[i];
    const bool reached = group.what == retried::row || seen->contains(item.stream, item.position.value_or(0));
    all.push_back(again.rejected(i) ? fate::rejected : reached ? fate::delivered : fate::without_row);
  }
  added = again.lines();
  return all;
}

// Remove the dead letters of delivered items from their files, and replace those of items that were rejected again. A
// record that made no row for the sink that had refused its row is not delivered: its dead letters stay.
result<void> conclude(const retry_group& group, const std::vector<fate>& fates, std::string added,
                      const std::vector<fs::path>& files) {
  std::unordered_map<std::string_view, files::line_fate> of_line;
  for (std::size_t i = 0; i < fates.size(); ++i) {
    if (fates[i] == fate::without_row && group.at_sink) continue;
    for (const auto& line : group.items[i].lines)
      of_line[line] = fates[i] == fate::rejected ? files::line_fate::goes : files::line_fate::moves;
  }
  const auto fate_of = [&](std::string_view line) {
    const auto at = of_line.find(line);
    return at == of_line.end() ? files::line_fate::stays : at->second;
  };
  for (const auto& file : files) {
    if (auto r = files::rewrite_lines(file, fate_of, retried_name(file), added); !r) return r.why();
    added.clear();
  }
  return {};
}

std::uint64_t rows_in(const std::vector<std::pair<std::string, std::uint64_t>>& stored) {
  std::uint64_t sum = 0;
  for (const auto& [sink, rows] : stored) sum += rows;
  return sum;
}

void report_failure(const retry_outcome& done) {
  const auto rows = rows_in(done.stored);
  print_error(
      fmt::format("not all records could be retried: all dead letters stay in place; {} stored, and the next retry "
                  "stores them again",
                  plural(rows, "row") + (rows == 1 ? " was" : " were")));
}

}  // namespace

retry_outcome run_group(const config::pipeline& settings, const std::string& source,
                        const std::vector<std::string>& sinks, const retry_group& group,
                        const std::vector<fs::path>& files, session& s, signals& incoming) {
  retry_outcome done;
  const auto failed = [&](const std::string& why, int code) { return print_error(why), done.code = code, done; };
  auto work = work_folder::make(files.front().string() + ".retry");
  if (!work.ok()) return failed(work.why().message, exit_failed);
  const auto& folder = (*work)->path();
  if (auto r = write_items(group, items_in(folder)); !r) return failed(r.why().message, exit_failed);
  config::diagnostics problems;
  auto p =
      engine::pipeline::build(for_retry(settings, source, sinks, group, folder), s.services(), s.plugins(), problems);
  print_problems(problems);
  if (!p) return done.code = exit_usage, done;
  const auto run = run_through(*p, incoming, s);
  for (const auto& sink : p->settings().sinks)
    if (sink.name != seen_node) done.stored.emplace_back(sink.name, p->written(sink.name));
  p.reset();
  done.code = run.code;
  done.stopped = run.stopped;
  if (done.code != exit_ok) return report_failure(done), done;

  std::string added;
  const auto tried = std::min<std::uint64_t>(run.totals.records_in, group.items.size());
  const auto of_items = fates(group, tried, folder, added);
  auto concluded = of_items.ok() ? conclude(group, *of_items, added, files) : result<void>(of_items.why());
  if (!concluded.ok())
    return failed(fmt::format("the records were delivered, but their dead letters could not be removed: {}; the next "
                              "retry would deliver the records again",
                              concluded.why().message),
                  exit_failed);
  done.not_tried = group.items.size() - tried;
  done.delivered = static_cast<std::uint64_t>(std::ranges::count(*of_items, fate::delivered));
  done.rejected = static_cast<std::uint64_t>(std::ranges::count(*of_items, fate::rejected));
  done.without_row = static_cast<std::uint64_t>(std::ranges::count(*of_items, fate::without_row));
  return done;
}

}  // namespace pl::host
