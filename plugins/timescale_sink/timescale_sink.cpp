// SPDX-License-Identifier: Apache-2.0
#include "timescale_sink.hpp"

#include "creation.hpp"

#include <pipeline/plugin.hpp>

#include <algorithm>
#include <chrono>

namespace timescale {
namespace {

std::string listed_columns(const table_info& table) {
  std::string text;
  for (const auto& c : table.columns) text += (text.empty() ? "" : ", ") + c.name + ' ' + c.type;
  return text;
}

// Later, when it is no longer the configuration that is at fault.
pl::failure as_retry(const pl::failure& why) { return pl::retry(why.message); }

// Whether creating the table may succeed another time: a lock, a lost connection, a maker who took no lock of ours.
bool passes(const sql_error& e) {
  if (e.sqlstate == "42P07" || e.sqlstate == "23505") return true;
  const auto what = reaction_to(e);
  return what == reaction::reconnect || (what == reaction::try_again && e.sqlstate != "42501");
}

findings schema_findings(pqxx::transaction_base& tx, const table_name& name, const std::string& where) {
  if (name.schema.empty()) return {};
  switch (inspect_schema(tx, name.schema)) {
    case schema_state::usable:
      break;
    case schema_state::missing:
      return {{"table", "there is no schema '" + name.schema + "' at " + where + ": CREATE SCHEMA " +
                            quoted_identifier(name.schema)}};
    case schema_state::forbidden:
      return {{"table", "may not use schema '" + name.schema + "': GRANT USAGE ON SCHEMA " +
                            quoted_identifier(name.schema) + " to the user of 'url'"}};
  }
  return {};
}

}  // namespace

pl::description sink::describe() {
  return {
      .name = "timescale_sink",
      .doc =
          "Writes rows into a table of TimescaleDB or PostgreSQL, by binary COPY.\n\n"
          "All rows of a write go into one transaction. A row that the database refuses is found by bisection and "
          "goes to the dead letters; the others are stored. Connects anew by itself, and works through PgBouncer in "
          "transaction pooling. With 'delivery: exactly_once' the positions of the source and the state of transforms "
          "are part of the same transaction.",
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
      session_(options_.stall_timeout),
      writer_(limits_.sql()),
      rows_(context.counter("timescale_rows_total", "Rows stored.")),
      refused_(
          context.counter("timescale_rows_refused_total", "Rows given to the dead letters: not storable as they are.")),
      transactions_(context.counter("timescale_transactions_total", "Transactions committed.")),
      searches_(context.counter("timescale_searches_total",
                                "Transactions in which a row that the database refuses was searched for.")),
      connections_(context.counter("timescale_connections_total", "Connections opened for writing.")),
      seconds_(context.histogram("timescale_transaction_seconds", "Time from BEGIN to the answer to COMMIT.")) {
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
        {"stall_timeout",
         "must be longer than 'statement_timeout' and 'lock_timeout': the database has to be able to give up first"});
  const auto beside = [&](const std::string& written, const char* option) {
    auto name = parse_table_name(written);
    if (!name) return found.push_back({option, name.why().message}), table_name{};
    if (name->schema.empty()) name->schema = name_.schema;
    return *std::move(name);
  };
  tables_ = {std::string(context_.pipeline()), std::string(context_.node()),
             beside(options_.positions_table, "positions_table"), beside(options_.state_table, "state_table")};
  for (auto& f : key_findings(options_)) found.push_back(std::move(f));
  if (options_.create)
    for (auto& f : creation_findings(*options_.create)) found.push_back(std::move(f));
  if (!found.empty()) {
    const auto last = report(found);
    throw pl::invalid_options(last.option, last.message);
  }
  conninfo_.set_defaults(options_.connect_timeout,
                         "pipeline-host " + std::string(context_.pipeline()) + '/' + std::string(context_.node()));
  book_ = std::make_unique<position_book>(conninfo_.secret_text(), limits_, tables_);
}

pl::result<const pl_schema*> sink::columns(const pl_schema* in, std::uint32_t) {
  in_ = in;
  if (in)
    if (auto found = field_findings(options_, *in); !found.empty()) return report(found);
  return nullptr;
}

// Says all but the last, which is the failure to return.
pl::failure sink::report(const findings& found) const {
  if (found.empty()) return pl::fatal({});
  for (std::size_t i = 0; i + 1 < found.size(); ++i) context_.option_error(found[i].option, found[i].message);
  return pl::bad_option(found.back().option, found.back().message);
}

std::string sink::where() const { return "table '" + name_.shown() + "' at " + conninfo_.shown(); }

// ------------------------------------------------------------------------------------------------------ the table ---

pl::result<sink::world> sink::look(const pl_schema* in, bool may_create) {
  world w;
  auto done = in_transaction(conninfo_.secret_text(), limits_,
                             [&](pqxx::transaction_base& tx) { return find_table(tx, in, may_create, w); });
  if (done) return w;
  auto why = done.why();
  if (why.code == pl::status::retry) why.message = where() + ": " + why.message;
  return why;
}

pl::result<void> sink::find_table(pqxx::transaction_base& tx, const pl_schema* in, bool may_create, world& w) {
  w.server = inspect_server(tx);
  if (w.server.read_only)
    return pl::retry("the server takes no writes: it is a standby, or set to read-only; point 'url' at the primary");
  if (auto found = schema_findings(tx, name_, conninfo_.shown()); !found.empty()) return report(found);
  w.table = inspect_table(tx, name_, w.server);
  if (!w.table && !options_.create) return no_table(tx);
  if (!w.table && may_create && can_design(options_, in))
    if (auto done = create(tx, in, w); !done) return done;
  if (!w.table) {
    table_design design;
    if (auto found = design_table(options_, in, design); !found.empty() && can_design(options_, in))
      return report(found);
    return {};
  }
  copy_plan plan;
  if (auto found = make_plan(options_, *w.table, in, plan); !found.empty()) return report(found);
  return {};
}

pl::failure sink::no_table(pqxx::transaction_base& tx) const {
  return pl::bad_option("table", "there is no table '" + name_.shown() + "' at " + conninfo_.shown() +
                                     did_you_mean(name_.shown(), visible_tables(tx, name_), ".") +
                                     " Create it, or let 'create: {}' do it");
}

pl::result<void> sink::create(pqxx::transaction_base& tx, const pl_schema* in, world& w) {
  table_design design;
  if (auto found = design_table(options_, in, design); !found.empty()) return report(found);
  lock_creation(tx, name_);
  w.table = inspect_table(tx, name_, w.server);
  if (w.table) return {};  // another host was faster
  try {
    w.warnings = create_table(tx, name_, design, *options_.create, options_.key, w.server);
  } catch (const pqxx::sql_error& e) {
    if (passes(error_of(e))) throw;
    return pl::bad_option("create", "can't create table '" + name_.shown() + "' at " + conninfo_.shown() + ": " +
                                        described(error_of(e)) + "; the statement: " + e.query());
  }
  w.table = inspect_table(tx, name_, w.server);
  w.created = true;
  return {};
}

void sink::announce(const world& w) {
  for (const auto& warning : w.warnings) context_.warn(warning);
  if (!w.table) return;
  if (w.created) context_.info("created " + where() + ": " + listed_columns(*w.table));
  context_.info("writing to " + where() + ": PostgreSQL " + w.server.version +
                (w.server.timescale.empty() ? "" : ", TimescaleDB " + w.server.timescale));
  if (w.server.timescale.empty())
    context_.warn(std::string("this database has no TimescaleDB: '") + w.table->name.shown() +
                  "' is an ordinary table, without chunks, compression or retention" +
                  (w.server.timescale_offered ? "; the server offers it: CREATE EXTENSION timescaledb" : ""));
  else if (!w.table->hypertable && (!options_.create || options_.create->hypertable.enabled))
    context_.warn("'" + w.table->name.shown() + "' is no hypertable: SELECT create_hypertable(...) would make it one");
}

void sink::forget_table() {
  table_.reset();
  prepared_.clear();
}

// ----------------------------------------------------------------------------------------------------------- life ---

pl::result<void> sink::check() {
  auto seen = look(in_, false);
  if (!seen) return seen.why();
  return {};
}

pl::result<void> sink::start() {
  auto seen = look(in_, true);
  if (!seen) return seen.why();
  announce(*seen);
  forget_table();
  table_ = std::move(seen->table);
  return connect();
}

pl::result<void> sink::stop() {
  session_.disconnect();
  return {};
}

pl::result<void> sink::connect() {
  if (session_.connected()) return {};
  if (auto e = session_.connect(conninfo_.secret_text())) return pl::retry(where() + ": " + described_with_advice(*e));
  connections_.add();
  return {};
}

// -------------------------------------------------------------------------------------------------------- writing ---

pl::result<prepared_schema*> sink::prepared(const pl_schema* schema) {
  for (const auto& p : prepared_)
    if (p->schema == schema) return p.get();
  if (!table_) {
    auto seen = look(schema, true);
    if (!seen) return was_ready_ ? as_retry(seen.why()) : seen.why();
    if (seen->created) announce(*seen);
    table_ = std::move(seen->table);
    if (!table_) return pl::retry("there is no " + where());
  }
  copy_plan plan;
  if (auto found = make_plan(options_, *table_, schema, plan); !found.empty()) {
    forget_table();  // it may have been mended by the next time
    return was_ready_ ? as_retry(report(found)) : report(found);
  }
  writer_.set_table_check("SELECT 1 / (" + table_->fingerprint_sql + " = " + quoted_literal(table_->fingerprint) +
                          ")::int");
  row_encoder encoder(plan.columns);
  prepared_.push_back(std::make_unique<prepared_schema>(prepared_schema{schema, std::move(plan), std::move(encoder)}));
  return prepared_.back().get();
}

pl::result<void> sink::make_ready(const pl::batch_list& batches) {
  portions_.clear();
  batch_of_.clear();
  for (std::uint32_t i = 0; i < batches.size(); ++i) {
    if (batches[i].selected() == 0) continue;
    auto how = prepared(&batches[i].schema());
    if (!how) return how.why();
    portions_.push_back({batches[i], *how});
    batch_of_.push_back(i);
  }
  return {};
}

pl::result<void> sink::write(const pl::batch_list& batches) {
  auto moves = moves_in(batches);
  if (!moves) return pl::fenced(where() + ": a stream was claimed anew while records of it were under way");
  if (*moves != moves_) {  // not the write that was tried last, if that one was given up
    moves_ = *std::move(moves);
    token_ = 0;
    unsure_ = false;
  }
  for (bool first_time = true;; first_time = false) {
    if (auto ready = make_ready(batches); !ready) return ready;
    if (portions_.empty() && moves_.empty()) return {};
    if (unsure_) {
      const auto committed = find_out();
      if (!committed) return committed.why();
      if (*committed) return delivered(batches), pl::result<void>{};
    }
    if (auto known = know_priors(); !known) return known;
    if (auto ready = connect(); !ready) return ready;
    const auto began = std::chrono::steady_clock::now();
    const auto failed = writer_.write(session_, portions_, closing_of(batches),
                                      moves_.empty() ? refused_rows::leave_out : refused_rows::stop);
    if (writer_.searched()) searches_.add();
    if (!failed) {
      seconds_.observe(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
      delivered(batches);
      return {};
    }
    if (failed->what == reaction::rows_named) return name_refused(batches);
    unsure_ = !moves_.empty() && (failed->at_commit || failed->what == reaction::check_positions);
    if (auto why = explain(*failed, first_time)) return *std::move(why);
  }
}

// The host buries them, and comes again without them. Committed first, they would be lost if it died before.
pl::failure sink::name_refused(const pl::batch_list& batches) {
  const auto rejected = writer_.rejected();
  for (const auto& r : rejected) context_.reject(batches[batch_of_[r.portion]], r.row, writer_.why(r));
  refused_.add(static_cast<double>(rejected.size()));
  return pl::rejected(where() + ": " + std::to_string(rejected.size()) + " rows can't be stored");
}

// Where a stream's position doesn't move, the token of its last write must.
pl::result<void> sink::know_priors() {
  for (auto& m : moves_) {
    if (m.first != m.next || m.prior) continue;
    const auto last = last_.find({m.source, m.stream});
    if (last != last_.end() && last->second.epoch == m.epoch && last->second.next == m.first) {
      m.prior = last->second.token;
      continue;
    }
    auto asked = book_->token_of(m);
    if (!asked) return asked.why();
    m.prior = *asked;
  }
  return {};
}

std::vector<closing_statement> sink::closing_of(const pl::batch_list& batches) {
  std::vector<closing_statement> closing;
  if (moves_.empty()) return closing;
  while (token_ == 0) token_ = random_() >> 1U;  // of PostgreSQL's bigint
  for (auto& sql : change_sql(tables_, batches)) closing.push_back({std::move(sql), reaction::try_again});
  closing.push_back({move_sql(tables_, moves_, token_), reaction::check_positions});
  return closing;
}

// The transaction may even be under way still: then its rows are locked, and the check of the next try, which waits for
// it, brings us here again.
pl::result<bool> sink::find_out() {
  const auto found = book_->standing_of(moves_, token_);
  if (!found) {
    auto why = found.why();
    why.message = where() + ": whether the last transaction was committed is to be found out: " + why.message;
    return why;
  }
  unsure_ = false;
  if (*found != position_book::standing::elsewhere) return *found == position_book::standing::after;
  token_ = 0;
  std::string streams;
  for (const auto& m : moves_) streams += (streams.empty() ? "" : ", ") + m.stream;
  return pl::fenced(where() + ": another host has claimed " + (moves_.size() == 1 ? "" : "one of ") + streams +
                    "; nothing of this write was stored");
}

void sink::delivered(const pl::batch_list& batches) {
  for (const auto& m : moves_) last_[{m.source, m.stream}] = {m.epoch, m.next, token_};
  moves_.clear();  // an equal write that comes now is another one
  token_ = 0;
  // Not before the transaction is through: a write that is tried again would bury a row twice.
  for (const auto& r : writer_.rejected()) context_.reject(batches[batch_of_[r.portion]], r.row, writer_.why(r));
  was_ready_ = true;
  transactions_.add();
  rows_.add(static_cast<double>(writer_.rows_written()));
  refused_.add(static_cast<double>(writer_.rejected().size()));
}

std::optional<pl::failure> sink::explain(const write_failure& why, bool first_time) {
  auto text = where() + ": " + described_with_advice(why.error);
  switch (why.what) {
    case reaction::recheck_table:
      forget_table();
      if (first_time) return std::nullopt;
      return pl::retry(text);
    case reaction::reconnect:
      session_.disconnect();
      if (why.at_commit)
        text += unsure_ ? "; whether the last transaction was committed is found out first"
                        : "; whether the last transaction was committed is not known, so its rows are written again";
      return pl::retry(text);
    case reaction::check_positions:
      if (first_time) return std::nullopt;
      return pl::retry(text);
    case reaction::reject_row:
      return pl::rejected(text);
    case reaction::rows_named:  // told by write
    case reaction::try_again:
      break;
  }
  return pl::retry(text);
}

// ------------------------------------------------------------------------------------------------------ positions ---

namespace {

template <class T>
pl::result<T> placed(pl::result<T> answer, const std::string& where) {
  if (answer.ok()) return answer;
  auto why = answer.why();
  why.message = where + ": " + why.message;
  return why;
}

}  // namespace

pl::result<pl_position> sink::position(std::string_view source, std::string_view stream) {
  return placed(book_->position(source, stream), conninfo_.shown());
}

pl::result<bool> sink::claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                             const pl_mark& mark) {
  return placed(book_->claim(source, stream, seen, wanted, mark), conninfo_.shown());
}

pl::result<void> sink::load(std::string_view source, std::string_view stream, const entry& each) {
  return placed(book_->load(source, stream, each), conninfo_.shown());
}

pl::result<void> sink::may_rewrite() {
  if (options_.conflict != conflict_policy::error) return {};
  return pl::bad_option("conflict",
                        "rows that are there already would be added once more; with 'conflict: ignore' and the 'key' "
                        "by which rows are told apart (key: [device_id, time]) they are not");
}

}  // namespace timescale

PL_EXPORT("0.1.0", timescale::sink)
