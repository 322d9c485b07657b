// SPDX-License-Identifier: Apache-2.0
#include "timescale_sink.hpp"

#include "creation.hpp"

#include <pipeline/plugin.hpp>

#include <algorithm>
#include <chrono>

namespace timescale {
namespace {

// Convert a configuration error to a retry. For a running sink, whose table may be corrected later.
pl::failure as_retry(const pl::failure& why) { return pl::retry(why.message); }

}  // namespace

pl::description sink::describe() {
  return {.name = "timescale_sink",
          .doc =
              "Writes rows into a table of TimescaleDB or PostgreSQL, by binary COPY.\n\n"
              "All rows of a write go into one transaction. A row that the database rejects is found by bisection and "
              "goes to the dead letters; the other rows are stored. The sink reconnects automatically and supports "
              "PgBouncer with transaction pooling. With 'delivery: exactly_once', the positions of the source and the "
              "state of transforms are stored in the same transaction.",
          .example =
              "plugin: timescale_sink\n"
              "from: parsed\n"
              "url: \"${DATABASE_URL}\"\n"
              "table: raw_telemetry\n"
              "create: {hypertable: {chunk_interval: 1d}, retention: 90d}\n",
          .ports = {},
          .abilities = PL_TRANSACTIONAL};
}

sink::sink(options o, pl::context context)
    : options_(std::move(o)),
      context_(context),
      limits_{options_.statement_timeout, options_.lock_timeout, options_.stall_timeout},
      setup_(options_, context_, name_, conninfo_, limits_),
      session_(options_.stall_timeout),
      writer_(limits_.sql()),
      next_(context.raw()),
      early_(options_.stall_timeout, limits_.sql(), [this] { return next_portions(); }),
      rows_(context.counter("timescale_rows_total", "Rows stored.")),
      refused_(
          context.counter("timescale_rows_refused_total", "Rows sent to the dead letters because they were rejected.")),
      discarded_(context.counter("timescale_rows_discarded_total",
                                 "Rows that the table did not take, although the database reported no error: a trigger "
                                 "discarded them or moved them elsewhere.")),
      transactions_(context.counter("timescale_transactions_total", "Transactions committed.")),
      early_transactions_(context.counter(
          "timescale_early_transactions_total",
          "Transactions that began while the one before was being committed, over a second connection.")),
      searches_(context.counter("timescale_searches_total",
                                "Transactions in which the sink searched for rows that the database rejects.")),
      connections_(context.counter("timescale_connections_total", "Connections opened for writing.")),
      seconds_(context.histogram("timescale_transaction_seconds", "Time from BEGIN to the response to COMMIT.")) {
  findings found;
  const auto note = [&](const pl::failure& why) { found.push_back({why.option, why.message}); };
  if (auto name = parse_table_name(options_.table_name))
    name_ = *std::move(name);
  else
    note(name.why());
  if (auto url = conninfo::parse(options_.url))
    conninfo_ = *std::move(url);
  else
    note(url.why());
  if (options_.stall_timeout <= std::max(options_.statement_timeout, options_.lock_timeout))
    found.push_back(
        {"stall_timeout", "must be longer than 'statement_timeout' and 'lock_timeout', so that these expire first"});
  const auto in_schema_of_table = [&](const std::string& written, const char* option) {
    auto name = parse_table_name(written);
    if (!name) return found.push_back({option, name.why().message}), table_name{};
    if (name->schema.empty()) name->schema = name_.schema;
    return *std::move(name);
  };
  position_tables tables{std::string(context_.pipeline()), std::string(context_.node()),
                         in_schema_of_table(options_.positions_table, "positions_table"),
                         in_schema_of_table(options_.state_table, "state_table"), name_};
  for (auto& f : key_findings(options_)) found.push_back(std::move(f));
  if (options_.create)
    for (auto& f : creation_findings(*options_.create)) found.push_back(std::move(f));
  if (!found.empty()) {
    const auto last = setup_.report(found);
    throw pl::invalid_options(last.option, last.message);
  }
  conninfo_.set_defaults(options_.connect_timeout,
                         "pipeline-host " + std::string(context_.pipeline()) + '/' + std::string(context_.node()));
  positions_ = std::make_unique<position_client>(conninfo_.secret_text(), limits_, std::move(tables));
}

pl::result<const pl_schema*> sink::columns(const pl_schema* in, std::uint32_t) {
  if (in)
    if (auto found = field_findings(options_, *in); !found.empty()) return setup_.report(found);
  return nullptr;
}

pl::result<pl::column_set> sink::typed_columns(const pl::column_set& in, std::uint32_t port) {
  setup_.add_input(in);
  if (auto fits = columns(in.schema, port); !fits) return fits.why();
  return pl::column_set{};
}

// ------------------------------------------------------------------------------------------------------ the table ---

// Rows that do not fit become dead letters, which lose nothing. So a running host does not stop because of them.
void sink::log_misfits(const catalog_state& w) {
  for (const auto& f : w.kinds.errors) context_.error(f.message);
}

// Take over what was read from the catalog.
void sink::use(catalog_state& seen) {
  setup_.settle_on(seen);
  limits_decompression_ = seen.server.limits_decompression;
  set_opening(read_write_);
  table_ = std::move(seen.table);
}

// Rows that conflict with rows of a compressed chunk are decompressed. TimescaleDB's limit would refuse such a write each
// time; the size of a write is already limited.
void sink::set_opening(bool read_write) {
  read_write_ = read_write;
  for (auto* w : {&writer_, &early_.rows()})
    w->set_opening(
        limits_decompression_ ? "SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction TO 0;" : "",
        read_write);
}

void sink::reset_table() {
  early_.discard();
  table_.reset();
  prepared_.clear();
}

// ----------------------------------------------------------------------------------------------------------- life ---

pl::result<void> sink::check() {
  auto seen = setup_.read(when_missing::try_out);
  if (!seen) return seen.why();
  for (const auto& warning : seen->kinds.warnings) context_.warn(warning);
  if (!seen->kinds.errors.empty()) return setup_.report(seen->kinds.errors);
  return {};
}

pl::result<void> sink::start() {
  auto seen = setup_.read(when_missing::create);
  if (!seen) return seen.why();
  setup_.log(*seen);
  log_misfits(*seen);
  reset_table();
  use(*seen);
  return connect();
}

pl::result<void> sink::stop() {
  disconnect();
  return {};
}

void sink::disconnect() noexcept {
  session_.disconnect();
  early_.disconnect();
}

// A write that has begun early uses its own connection.
pl::result<void> sink::connect() {
  if (session_.connected()) return {};
  if (auto e = session_.connect(conninfo_.secret_text()))
    return pl::retry(setup_.where() + ": " + described_with_advice(*e));
  connections_.add();
  return {};
}

void sink::connect_second() {
  const bool connected = early_.connected();
  if (auto e = early_.connect_if_wanted(conninfo_.secret_text()))
    context_.warn(setup_.where() + ": no second connection, so writes do not overlap: " + described_with_advice(*e) +
                  "; to use one connection for each writer, set 'overlap: false'");
  else if (!connected && early_.connected())
    connections_.add();
}

// -------------------------------------------------------------------------------------------------------- writing ---

pl::result<prepared_schema*> sink::prepared(const pl::batch_list& batches, const pl_schema* schema) {
  for (const auto& p : prepared_)
    if (p->schema == schema) return p.get();
  const bool fitted = has_written_ || setup_.has_fitted(*schema);
  if (!table_) {
    auto seen = setup_.read_for(*schema, batches);
    if (!seen) return fitted ? as_retry(seen.why()) : seen.why();
    if (seen->created) setup_.log(*seen);
    log_misfits(*seen);
    use(*seen);
    if (!table_) return pl::retry("there is no " + setup_.where());
  }
  copy_plan plan;
  if (auto found = make_plan(options_, *table_, schema, plan); !found.empty()) {
    reset_table();  // the table may be corrected before the next attempt
    return fitted ? as_retry(setup_.report(found)) : setup_.report(found);
  }
  for (auto* w : {&writer_, &early_.rows()})
    w->set_table_check("SELECT 1 / (" + table_->fingerprint_sql + " IS NOT DISTINCT FROM " +
                       quoted_literal(table_->fingerprint) + ")::int");
  row_encoder encoder(plan.columns);
  prepared_.push_back(std::make_unique<prepared_schema>(prepared_schema{schema, std::move(plan), std::move(encoder)}));
  return prepared_.back().get();
}

pl::result<void> sink::make_ready(const pl::batch_list& batches) {
  portions_.clear();
  batch_of_.clear();
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    if (batches[i].selected() == 0) continue;
    auto how = prepared(batches, &batches[i].schema());
    if (!how) return how.why();
    portions_.push_back({batches[i], *how});
    batch_of_.push_back(i);
  }
  return {};
}

// A trigger of the user may read what earlier writes have stored, so the table must have none. A schema that is not
// prepared may need the catalog.
std::vector<portion> sink::next_portions() const {
  if (!options_.overlap || !table_ || table_->has_triggers) return {};
  std::vector<portion> found;
  for (const auto batch : next_.peek()) {
    if (batch.selected() == 0) continue;
    const auto how = std::ranges::find(prepared_, &batch.schema(), [](const auto& p) { return p->schema; });
    if (how == prepared_.end()) return {};
    found.push_back({batch, how->get()});
  }
  return found;
}

// What has begun early belongs to this write, or is rolled back: also if this write fails, because it is then repeated. The
// cause may be a connection that the server refuses: then the second one must not keep its place.
pl::result<void> sink::write(const pl::batch_list& batches) {
  if (!next_.peeked()) early_.discard();
  auto written = write_now(batches);
  if (written) return written;
  written.why().code == pl::status::retry ? early_.release() : early_.discard();
  return written;
}

pl::result<void> sink::write_now(const pl::batch_list& batches) {
  auto moves = moves_in(batches);
  if (!moves) return pl::fenced(setup_.where() + ": a stream was claimed again while its records were in flight");
  if (*moves != moves_) {  // a new write: the host has abandoned the last one
    moves_ = *std::move(moves);
    token_ = 0;
    commit_unknown_ = false;
  }
  for (bool first_time = true;; first_time = false) {
    if (auto ready = make_ready(batches); !ready) return ready;
    if (portions_.empty() && moves_.empty()) return {};
    if (commit_unknown_) {
      const auto committed = resolve_commit();
      if (!committed) return committed.why();
      if (*committed) return delivered(batches), pl::result<void>{};
    }
    if (auto known = locate_positions(); !known) return known;
    if (auto known = load_prior_tokens(); !known) return known;
    const auto state = moves_.empty() ? state_rows() : state_rows(positions_->tables(), batches);
    const auto closing = closing_of(state);
    auto began = std::chrono::steady_clock::now();
    const bool early = early_.begun();
    if (early)
      began = early_.take(session_, writer_);
    else if (auto ready = connect(); !ready)
      return ready;
    connect_second();
    const auto failed = writer_.write(session_, portions_, {closing, &state},
                                      moves_.empty() ? rejection_policy::leave_out : rejection_policy::stop, &early_);
    if (writer_.searched()) searches_.add();
    if (!failed) {
      if (early) early_transactions_.add();
      seconds_.observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
      delivered(batches);
      return {};
    }
    if (failed->what == reaction::rows_identified) return reject_rows(batches);
    // The COPY that began early ran while the write before it was committed and reported: its duration says nothing.
    if (early && !failed->at_commit && failed->error.sqlstate == "57014") continue;
    commit_unknown_ = !moves_.empty() && (failed->at_commit || failed->what == reaction::check_positions);
    if (auto why = explain(*failed, first_time)) return *std::move(why);
  }
}

// Reject rows before anything is committed. The host writes them to the dead letters and then retries the write without
// them. If the others were committed first, a crash would lose the rejected rows.
pl::failure sink::reject_rows(const pl::batch_list& batches) {
  const auto rejected = writer_.rejected();
  for (const auto& r : rejected) context_.reject(batches[batch_of_[r.portion]], r.row, writer_.why(r));
  refused_.add(static_cast<double>(rejected.size()));
  return pl::rejected(setup_.where() + ": " + std::to_string(rejected.size()) + " rows cannot be stored");
}

pl::result<void> sink::locate_positions() {
  if (moves_.empty()) return {};
  if (auto located = positions_->locate_tables(); !located) return located;
  if (!std::exchange(warned_of_positions_, true) && !positions_->warning().empty())
    context_.warn(positions_->warning());
  return {};
}

// Load the token of the last write for each stream whose position does not change. The write compares it, because the
// position alone does not distinguish attempts.
pl::result<void> sink::load_prior_tokens() {
  for (auto& m : moves_) {
    if (m.first != m.next || m.prior) continue;
    const auto last = last_.find({m.source, m.stream});
    if (last != last_.end() && last->second.epoch == m.epoch && last->second.next == m.first) {
      m.prior = last->second.token;
      continue;
    }
    early_.discard();  // a pooler may have only one connection, which must not wait for this query
    auto asked = positions_->token_of(m);
    if (!asked) return asked.why();
    m.prior = *asked;
  }
  return {};
}

std::vector<closing_statement> sink::closing_of(const state_rows& state) {
  std::vector<closing_statement> closing;
  if (moves_.empty()) return closing;
  while (token_ == 0) token_ = random_() >> 1U;  // in the range of PostgreSQL's bigint
  for (auto& sql : state.statements()) closing.push_back({std::move(sql), reaction::retry});
  closing.push_back({move_sql(positions_->tables(), moves_, token_), reaction::check_positions});
  return closing;
}

// Determine whether the last transaction was committed. If it is still in progress, its rows are locked; the check of
// the next attempt then waits for the lock and fails, and this function is called again.
pl::result<bool> sink::resolve_commit() {
  const auto found = positions_->progress_of(moves_, token_);
  if (!found) {
    auto why = found.why();
    why.message = setup_.where() + ": cannot determine whether the last transaction was committed: " + why.message;
    return why;
  }
  commit_unknown_ = false;
  if (*found != position_client::progress::elsewhere) return *found == position_client::progress::after;
  token_ = 0;
  std::string streams;
  for (const auto& m : moves_) streams += (streams.empty() ? "" : ", ") + m.stream;
  return pl::fenced(setup_.where() + ": another host has claimed " + (moves_.size() == 1 ? "" : "one of ") + streams +
                    "; nothing of this write was stored");
}

void sink::delivered(const pl::batch_list& batches) {
  for (const auto& m : moves_) last_[{m.source, m.stream}] = {m.epoch, m.next, token_};
  moves_.clear();  // a later write with equal moves is a different write
  token_ = 0;
  // Reject rows only after the commit. Otherwise a retried write would dead-letter a row twice.
  for (const auto& r : writer_.rejected()) context_.reject(batches[batch_of_[r.portion]], r.row, writer_.why(r));
  has_written_ = true;
  transactions_.add();
  rows_.add(static_cast<double>(writer_.rows_written() - writer_.rows_discarded()));
  refused_.add(static_cast<double>(writer_.rejected().size()));
  if (writer_.rows_discarded() != 0) report_discarded();
}

// A trigger may do so on purpose, so this is not an error; but rows that nobody stored must be seen.
void sink::report_discarded() {
  discarded_.add(static_cast<double>(writer_.rows_discarded()));
  const auto now = std::chrono::steady_clock::now();
  if (now < next_discard_warning_) return;
  next_discard_warning_ = now + 1min;
  context_.warn(setup_.where() + " did not take " + std::to_string(writer_.rows_discarded()) + " of " +
                std::to_string(writer_.rows_written()) +
                " rows of a write, without an error: a trigger discarded them or moved them elsewhere");
}

std::optional<pl::failure> sink::explain(const write_failure& why, bool first_time) {
  auto text = setup_.where() + ": " + described_with_advice(why.error);
  if (read_write_ && why.error.sqlstate == "0A000") {  // BEGIN READ WRITE: the server has become a standby
    set_opening(false);
    disconnect();
    return pl::retry(text);
  }
  switch (why.what) {
    case reaction::recheck_table:
      reset_table();
      if (first_time) return std::nullopt;
      return pl::retry(text);
    case reaction::reconnect:
      if (why.error.sqlstate == "25006" && !read_write_ && setup_.is_writable()) {
        set_opening(true);
        if (first_time) return std::nullopt;
        return pl::retry(text);
      }
      disconnect();
      if (read_write_) set_opening(false);
      if (why.at_commit)
        text += commit_unknown_
                    ? "; the next attempt first checks whether the last transaction was committed"
                    : "; it is not known whether the last transaction was committed, so its rows are written again";
      return pl::retry(text);
    case reaction::check_positions:
      if (first_time) return std::nullopt;
      return pl::retry(text);
    case reaction::reject_row:
      return pl::rejected(text);
    case reaction::give_up:
      reset_table();
      if (first_time) return std::nullopt;  // the table may have changed
      return has_written_ ? pl::retry(text) : pl::fatal(text);
    case reaction::retry_in_parts:
      context_.too_large();
      return pl::retry(text);
    case reaction::rows_identified:  // handled by `write`
    case reaction::retry:
      break;
  }
  return pl::retry(text);
}

// ------------------------------------------------------------------------------------------------------ positions ---

namespace {

template <class T>
pl::result<T> with_location(pl::result<T> result, const std::string& where) {
  if (result.ok()) return result;
  auto why = result.why();
  why.message = where + ": " + why.message;
  return why;
}

}  // namespace

pl::result<pl_position> sink::position(std::string_view source, std::string_view stream) {
  return with_location(positions_->position(source, stream), conninfo_.shown());
}

pl::result<bool> sink::claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                             const pl_state_watermark& watermark) {
  return with_location(positions_->claim(source, stream, seen, wanted, watermark), conninfo_.shown());
}

pl::result<void> sink::load(std::string_view source, std::string_view stream, const entry& each) {
  return with_location(positions_->load(source, stream, each), conninfo_.shown());
}

pl::result<void> sink::streams(std::string_view source, const stream_entry& each) {
  const auto found = with_location(positions_->streams(source), conninfo_.shown());
  if (!found.ok()) return found.why();
  for (const auto& stream : *found) each(stream);
  return {};
}

pl::result<void> sink::may_rewrite() {
  if (options_.conflict != conflict_policy::error) return {};
  return pl::bad_option("conflict",
                        "existing rows would be added again; to prevent this, set 'conflict: ignore' and a 'key' that "
                        "identifies rows, for example key: [device_id, time]");
}

}  // namespace timescale

PL_EXPORT("0.1.0", timescale::sink)
