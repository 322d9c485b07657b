// SPDX-License-Identifier: Apache-2.0
#include "writer.hpp"

#include "row_search.hpp"

#include <pipeline/failpoint.hpp>

#include <algorithm>
#include <tuple>

namespace timescale {
namespace {

// Rows are handed to the connection in pieces of about this size: the database works on one while the next is encoded.
constexpr std::size_t piece_bytes = std::size_t{32} * 1024;
constexpr std::size_t kept_bytes = 1 << 20;
constexpr std::size_t longest_detail = 300;
constexpr std::string_view division_by_zero = "22012";

write_failure failed(sql_error e) {
  const auto what = reaction_to(e);
  return {std::move(e), what, false};
}

write_failure rows_named() { return {{"22000", "rows are refused", {}, {}, 0}, reaction::rows_named, false}; }

std::string refusal(const sql_error& e) {
  auto text = "the database refuses the row: " + described(e);
  auto end = std::min(e.detail.size(), longest_detail);
  while (end < e.detail.size() && end > 0 && (e.detail[end] & '\xC0') == '\x80') --end;  // not inside a character
  if (end != 0) text += ": " + e.detail.substr(0, end) + (end < e.detail.size() ? "..." : "");
  return text;
}

// Moves rows on into the table, and makes room for others.
std::string passed_on(const copy_plan& plan) {
  return plan.landing.empty() ? std::string{} : plan.landing + ';' + std::string(drop_staging);
}

}  // namespace

std::optional<write_failure> writer::write(session& to, std::span<const portion> portions,
                                           std::span<const closing_statement> closing, refused_rows refused) {
  rejected_.clear();
  reasons_.clear();
  written_ = 0;
  searched_ = false;

  // Rows that are left out may have to be somewhere else before the others are committed.
  const auto stops = [&] { return refused == refused_rows::stop && !rejected_.empty(); };
  auto tried = write_at_once(to, portions);
  if (!tried.failure && stops()) tried.failure = rows_named();
  if (!tried.failure) tried.failure = finish(to, {tried.landing, !portions.empty(), closing}, "COMMIT");
  if (!tried.failure) return std::nullopt;
  to.roll_back();
  if (tried.failure->what != reaction::reject_row || !to.connected()) return tried.failure;

  searched_ = true;
  auto failure = write_searching(to, portions, closing, tried);
  if (!failure && stops()) failure = rows_named();
  if (!failure) failure = finish(to, {{}, true, {}}, "COMMIT");
  if (failure) to.roll_back();
  return failure;
}

writer::attempt writer::write_at_once(session& to, std::span<const portion> portions) {
  pl::failpoint("copy.before");
  attempt a;
  const copy_plan* copying = nullptr;
  std::size_t sent = 0;
  maybe_error e;
  for (std::uint32_t i = 0; i < portions.size() && !e; ++i) {
    const auto& plan = portions[i].how->plan;
    if (!copying || copying->sql != plan.sql) {
      if (copying) e = end_copy(to);
      if (e) break;
      e = begin_copy(to, (copying ? passed_on(*copying) : opening_) + plan.staging + plan.sql);
      copying = &plan;
      a.first_of_copy = sent;
    }
    if (!e) e = send_rows(to, portions[i], i, sent);
  }
  if (!e) e = copying ? end_copy(to) : to.run(opening_);
  pl::failpoint("copy.after");
  written_ = sent;
  if (copying) a.landing = copying->landing;
  if (e) a.failure = failed(*std::move(e));
  return a;
}

maybe_error writer::send_rows(session& to, const portion& p, std::uint32_t index, std::size_t& sent) {
  auto& encoder = p.how->encoder;
  encoder.bind(p.batch);
  for (const auto row : p.batch.selection()) {
    if (!encoder.append(buffer_, row)) {
      reject(index, row, encoder.why());
      continue;
    }
    ++sent;
    if (buffer_.size() < piece_bytes) continue;
    if (auto e = to.put(buffer_.bytes())) return e;
    buffer_.clear(kept_bytes);
  }
  return std::nullopt;
}

maybe_error writer::begin_copy(session& to, const std::string& statements) {
  buffer_.clear(kept_bytes);
  buffer_.append(copy_header);
  return to.begin_copy(statements);
}

maybe_error writer::end_copy(session& to) {
  buffer_.append(copy_trailer);
  if (auto e = to.put(buffer_.bytes())) return e;
  return to.end_copy();
}

std::optional<write_failure> writer::finish(session& to, const remainder& what, std::string_view end) {
  std::string statements;
  if (!what.landing.empty()) statements.append(what.landing) += ';';
  if (what.check_table) statements += table_check_ + ';';
  for (const auto& c : what.closing) statements += c.sql + ';';
  maybe_error e;
  if (end.empty()) {
    e = to.run(statements);
  } else {
    pl::failpoint("commit.before");
    e = to.run(statements.append(end), [] { pl::failpoint("commit.sent"); });
    pl::failpoint("commit.after");
  }
  if (!e) return std::nullopt;
  return blame(*std::move(e), what, !end.empty());
}

// Which statement it was says what follows.
write_failure writer::blame(sql_error error, const remainder& what, bool committing) {
  auto failure = failed(std::move(error));
  const bool lost = failure.error.connection_lost();
  const std::size_t landed = what.landing.empty() ? 0 : 1, checked = landed + (what.check_table ? 1 : 0);
  const auto n = failure.error.statement;
  failure.at_commit = committing && (lost || n >= checked + what.closing.size());
  if (lost || n < landed || n >= checked + what.closing.size()) return failure;
  if (n < checked)
    failure.what = reaction::recheck_table;
  else if (failure.error.sqlstate == division_by_zero)
    failure.what = what.closing[n - checked].on_check;
  else if (failure.what == reaction::reject_row)
    failure.what = reaction::try_again;  // no row of ours is to blame
  return failure;
}

// The rows that the encoder takes. It is asked again, since the first attempt may have ended before the last row.
std::vector<writer::row_ref> writer::rows_to_try(std::span<const portion> portions) {
  rejected_.clear();
  reasons_.clear();
  std::vector<row_ref> rows;
  for (std::uint32_t i = 0; i < portions.size(); ++i) {
    auto& encoder = portions[i].how->encoder;
    encoder.bind(portions[i].batch);
    for (const auto row : portions[i].batch.selection()) {
      buffer_.clear(kept_bytes);
      if (encoder.append(buffer_, row))
        rows.push_back({i, row});
      else
        reject(i, row, encoder.why());
    }
  }
  return rows;
}

std::optional<write_failure> writer::write_searching(session& to, std::span<const portion> portions,
                                                     std::span<const closing_statement> closing,
                                                     const attempt& before) {
  written_ = 0;
  // A deferred constraint would speak at COMMIT, when it is too late to tell which row it means.
  if (auto e = to.run(opening_ + "SET CONSTRAINTS ALL IMMEDIATE")) return failed(*std::move(e));
  // Rows are not to blame if the table is another one, nor if they are there already because an earlier try of this very
  // write was committed.
  if (auto failure = finish(to, {{}, true, closing}, {})) return failure;
  const auto rows = rows_to_try(portions);
  const auto sql = [&](const row_ref& r) -> const std::string& { return portions[r.portion].how->plan.sql; };
  for (std::size_t first = 0, next = 0; first < rows.size(); first = next) {
    for (next = first + 1; next < rows.size() && sql(rows[next]) == sql(rows[first]);) ++next;
    const bool named = first == before.first_of_copy && before.failure;
    const auto suspect = named ? copy_line(before.failure->error, portions[rows[first].portion].how->plan.table) : 0;
    if (auto failure = search_group(to, portions, std::span(rows).subspan(first, next - first), suspect))
      return failure;
  }
  std::sort(rejected_.begin(), rejected_.end(),
            [](const auto& a, const auto& b) { return std::tie(a.portion, a.row) < std::tie(b.portion, b.row); });
  return std::nullopt;
}

std::optional<write_failure> writer::search_group(session& to, std::span<const portion> portions,
                                                  std::span<const row_ref> rows, std::size_t suspect) {
  const auto& plan = portions[rows[0].portion].how->plan;
  row_search search(rows.size(), suspect);
  std::string_view before = "SAVEPOINT piece;";
  while (!search.done()) {
    const auto piece = search.next();
    auto e = copy_rows(to, portions, rows.subspan(piece.first, piece.count), before);
    before = e ? "ROLLBACK TO SAVEPOINT piece;" : "RELEASE SAVEPOINT piece;SAVEPOINT piece;";
    if (!e) {
      written_ += piece.count;
      search.landed();
      continue;
    }
    if (reaction_to(*e) != reaction::reject_row) return failed(*std::move(e));
    if (search.refused(copy_line(*e, plan.table)))
      reject(rows[piece.first].portion, rows[piece.first].row, refusal(*e));
  }
  if (auto e = to.run(before.starts_with("ROLLBACK") ? "ROLLBACK TO SAVEPOINT piece;RELEASE SAVEPOINT piece"
                                                     : "RELEASE SAVEPOINT piece"))
    return failed(*std::move(e));
  return std::nullopt;
}

maybe_error writer::copy_rows(session& to, std::span<const portion> portions, std::span<const row_ref> rows,
                              std::string_view before) {
  const auto& plan = portions[rows[0].portion].how->plan;
  if (auto e = begin_copy(to, std::string(before) + plan.staging + plan.sql)) return e;
  std::optional<std::uint32_t> bound;
  for (const auto& r : rows) {
    auto& encoder = portions[r.portion].how->encoder;
    if (bound != r.portion) {
      encoder.bind(portions[r.portion].batch);
      bound = r.portion;
    }
    (void)encoder.append(buffer_, r.row);  // it took this row once, so it takes it again
    if (buffer_.size() < piece_bytes) continue;
    if (auto e = to.put(buffer_.bytes())) return e;
    buffer_.clear(kept_bytes);
  }
  auto e = end_copy(to);
  return e || plan.landing.empty() ? e : to.run(passed_on(plan));
}

void writer::reject(std::uint32_t portion, pl::row_index row, std::string_view why) {
  rejected_.push_back({portion, row, reasons_.size(), why.size()});
  reasons_ += why;
}

}  // namespace timescale
