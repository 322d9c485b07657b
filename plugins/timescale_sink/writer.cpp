// SPDX-License-Identifier: Apache-2.0
#include "writer.hpp"

#include "row_search.hpp"

#include <pipeline/failpoint.hpp>

#include <poll.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace timescale {
namespace {

// Rows are sent in pieces of about this size, so that the database processes one piece while the next is encoded.
constexpr std::size_t piece_bytes = std::size_t{32} * 1024;
constexpr std::size_t kept_bytes = 1 << 20;
constexpr std::string_view division_by_zero = "22012";

write_failure failed(sql_error e) {
  const auto what = reaction_to(e);
  return {std::move(e), what, false};
}

// A failure that no row caused, but perhaps their number.
write_failure not_of_a_row(write_failure failure) {
  if (failure.what == reaction::reject_row)
    failure.what = failure.error.sqlstate.starts_with("54") ? reaction::retry_in_parts : reaction::retry;
  return failure;
}

write_failure rows_identified() {
  return {{"22000", "rows were rejected", {}, {}, 0}, reaction::rows_identified, false};
}

std::string rejection_reason(const sql_error& e) { return "the database rejected the row: " + described(e); }

// Return statements that copy the staged rows into the table and drop the staging table.
std::string passed_on(const copy_plan& plan) {
  return plan.landing.empty() ? std::string{} : plan.landing + ';' + std::string(drop_staging);
}

}  // namespace

std::optional<write_failure> writer::write(session& to, std::span<const portion> portions, const closing_part& closing,
                                           rejection_policy policy, other_work* meanwhile) {
  if (early_ == stage::none) reset();

  // With rejection_policy::stop, rejected rows must be dead-lettered before the other rows are committed.
  const auto stops = [&] { return policy == rejection_policy::stop && !rejected_.empty(); };
  auto tried = write_at_once(to, portions);
  if (!tried.failure && stops()) tried.failure = stop_for_rejected(to, !portions.empty());
  if (!tried.failure) tried.failure = finish(to, {tried.landing, !portions.empty(), closing}, "COMMIT", meanwhile);
  if (!tried.failure) return std::nullopt;
  to.roll_back();
  if (tried.failure->what != reaction::reject_row || !to.connected()) return tried.failure;

  searched_ = true;
  auto failure = write_searching(to, portions, closing, tried);
  if (!failure && stops()) failure = stop_for_rejected(to, true);
  if (!failure) failure = finish(to, {{}, true, {}}, "COMMIT");
  if (failure) to.roll_back();
  return failure;
}

write_failure writer::stop_for_rejected(session& to, bool check_table) {
  if (check_table)
    if (auto changed = finish(to, {{}, true, {}}, {})) return *std::move(changed);
  return rows_identified();
}

writer::attempt writer::write_at_once(session& to, std::span<const portion> portions) {
  pl::failpoint("copy.before");
  maybe_error e;
  if (std::exchange(early_, stage::none) == stage::opening) e = to.await_copy();
  for (; at_.portion < portions.size() && !e; ++at_.portion, at_.row = 0) {
    const auto& plan = portions[at_.portion].how->plan;
    if (at_.copying == nullptr || at_.copying->sql != plan.sql) {
      if (at_.copying != nullptr) e = end_copy(to);
      if (e) break;
      e = begin_copy(to, (at_.copying != nullptr ? passed_on(*at_.copying) : opening_) + plan.staging + plan.sql);
      at_.copying = &plan;
      at_.first_of_copy = at_.encoded;
    }
    if (!e) e = send_rows(to, portions[at_.portion]);
  }
  if (!e) e = at_.copying != nullptr ? end_copy(to) : to.run(opening_);
  pl::failpoint("copy.after");
  written_ = at_.encoded;
  attempt a{{}, at_.first_of_copy, {}};
  if (at_.copying != nullptr) a.landing = at_.copying->landing;
  if (e) a.failure = failed(*std::move(e));
  return a;
}

void writer::reset() {
  rejected_.clear();
  reasons_.clear();
  written_ = discarded_ = 0;
  searched_ = false;
  at_ = {};
}

bool writer::encode(const portion& p) {
  auto& encoder = p.how->encoder;
  encoder.bind(p.batch);
  for (const auto rows = p.batch.selection(); at_.row < rows.size();) {
    const auto row = rows[at_.row++];
    if (!encoder.append(buffer_, row)) {
      reject(at_.portion, row, encoder.why());
      continue;
    }
    ++at_.encoded;
    ++in_copy_;
    if (buffer_.size() >= piece_bytes) return true;
  }
  return false;
}

maybe_error writer::send_rows(session& to, const portion& p) {
  while (encode(p)) {
    if (auto e = to.put(buffer_.bytes())) return e;
    buffer_.clear(kept_bytes);
  }
  return std::nullopt;
}

// --------------------------------------------------------------------------------------------------------- early ---

maybe_error writer::begin_early(session& to, std::span<const portion> portions) {
  reset();
  begin_data();
  const auto& plan = portions.front().how->plan;
  at_.copying = &plan;
  early_ = stage::opening;
  unsent_ = true;
  return to.start_copy(opening_ + plan.staging + plan.sql);
}

short writer::awaits() const noexcept {
  if (early_ == stage::none || (early_ == stage::done && !unsent_)) return 0;
  return early_ == stage::opening && !unsent_ ? POLLIN : POLLIN | POLLOUT;
}

// The COPY is ended by `write`.
maybe_error writer::proceed(session& to, std::span<const portion> portions) {
  bool sent = false, ready = false;
  if (auto e = to.send_more(sent)) return e;
  unsent_ = !sent;
  if (early_ == stage::opening) {
    if (auto e = to.look_for_copy(ready)) return e;
    if (ready) early_ = stage::rows;
    return std::nullopt;
  }
  if (unsent_ || early_ != stage::rows) return std::nullopt;
  const auto same_copy = [&] {
    return at_.portion < portions.size() && portions[at_.portion].how->plan.sql == at_.copying->sql;
  };
  bool full = false;
  while (!full && same_copy()) {
    full = encode(portions[at_.portion]);
    if (!full) ++at_.portion, at_.row = 0;
  }
  if (!full) early_ = stage::done;
  auto e = to.put_without_waiting(buffer_.bytes());
  buffer_.clear(kept_bytes);
  unsent_ = true;
  pl::failpoint("early.rows");
  return e;
}

maybe_error writer::begin_copy(session& to, const std::string& statements) {
  begin_data();
  return to.begin_copy(statements);
}

void writer::begin_data() {
  buffer_.clear(kept_bytes);
  buffer_.append(copy_header);
  in_copy_ = 0;
}

maybe_error writer::end_copy(session& to) {
  buffer_.append(copy_trailer);
  if (auto e = to.put(buffer_.bytes())) return e;
  if (auto e = to.end_copy()) return e;
  const auto stored = to.affected().empty() ? in_copy_ : to.affected().front();
  if (stored < in_copy_) discarded_ += in_copy_ - stored;
  return std::nullopt;
}

// State is copied before the last closing statement, which moves the positions: it runs in one string with COMMIT.
std::optional<write_failure> writer::finish(session& to, const remainder& what, std::string_view end,
                                            other_work* meanwhile) {
  const auto closing = what.closing.statements;
  if (const auto* state = what.closing.state; state != nullptr && state->copied() != 0) {
    const remainder first{what.landing, what.check_table, {closing.first(closing.size() - 1)}};
    if (auto e = begin_copy(to, text_of(first) + state->copy_sql())) return classify(*std::move(e), first, false);
    if (auto e = send_state(to, *state)) return not_of_a_row(failed(*std::move(e)));
    return finish(to, {{}, false, {closing.last(1)}}, end, meanwhile);
  }
  auto statements = text_of(what);
  maybe_error e;
  if (end.empty()) {
    e = to.run(statements);
  } else {
    pl::failpoint("commit.before");
    e = to.run(
        statements.append(end), [] { pl::failpoint("commit.sent"); }, meanwhile);
    pl::failpoint("commit.after");
  }
  if (!e) return std::nullopt;
  return classify(*std::move(e), what, !end.empty());
}

std::string writer::text_of(const remainder& what) const {
  std::string statements;
  if (!what.landing.empty()) statements.append(what.landing) += ';';
  if (what.check_table) statements += table_check_ + ';';
  for (const auto& c : what.closing.statements) statements += c.sql + ';';
  return statements;
}

maybe_error writer::send_state(session& to, const state_rows& state) {
  for (std::size_t i = 0; i < state.copied(); ++i) {
    state.append(buffer_, i);
    if (buffer_.size() < piece_bytes) continue;
    if (auto e = to.put(buffer_.bytes())) return e;
    buffer_.clear(kept_bytes);
  }
  return end_copy(to);
}

// Derive the reaction from the statement that failed.
write_failure writer::classify(sql_error error, const remainder& what, bool committing) {
  auto failure = failed(std::move(error));
  const bool lost = failure.error.connection_lost();
  const std::size_t landing_count = what.landing.empty() ? 0 : 1;
  const std::size_t checked = landing_count + (what.check_table ? 1 : 0);
  const auto n = failure.error.statement, end = checked + what.closing.statements.size();
  failure.at_commit = committing && (lost || n >= end);
  if (lost || n < landing_count) return failure;
  if (n >= end) return committing ? failure : not_of_a_row(std::move(failure));  // COMMIT, or COPY of state
  if (n < checked)
    failure.what = reaction::recheck_table;
  else if (failure.error.sqlstate == division_by_zero)
    failure.what = what.closing.statements[n - checked].on_check;
  else
    return not_of_a_row(std::move(failure));
  return failure;
}

// Return the rows that the encoder accepts. Encode all rows again, because the first attempt may have ended early.
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
                                                     const closing_part& closing, const attempt& before) {
  written_ = discarded_ = 0;
  // Check deferred constraints immediately. At COMMIT the violating row could no longer be identified.
  if (auto e = to.run(opening_ + "SET CONSTRAINTS ALL IMMEDIATE")) return failed(*std::move(e));
  // Do not reject rows if the table has changed, or if the rows exist because an earlier attempt of this write was
  // committed.
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
      search.accepted();
      continue;
    }
    if (reaction_to(*e) != reaction::reject_row) return failed(*std::move(e));
    if (search.rejected(copy_line(*e, plan.table)))
      reject(rows[piece.first].portion, rows[piece.first].row, rejection_reason(*e));
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
    ++in_copy_;
    (void)encoder.append(buffer_, r.row);  // cannot fail: the encoder has accepted this row before
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
