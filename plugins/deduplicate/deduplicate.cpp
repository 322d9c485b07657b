// SPDX-License-Identifier: Apache-2.0
#include "deduplicate.hpp"

#include <pipeline/hash.hpp>

#include <algorithm>
#include <random>
#include <set>

namespace deduplicate {

namespace {

// A record's time that is further ahead of this machine's clock is wrong and does not advance the window.
constexpr auto max_ahead = std::chrono::minutes(5);

std::string missing(std::string_view column, const pl_schema& in) {
  std::string why = "the input has no column '" + std::string(column) + "'; valid names: ";
  for (pl::column_index c = 0; c < in.ncols; ++c) why += (c == 0 ? "" : ", ") + std::string(pl::view(in.names[c]));
  return why;
}

identity random_key() {
  std::random_device random;
  const auto word = [&random] { return std::uint64_t{random()} << 32 | random(); };
  return {word(), word()};
}

std::string seconds_text(std::int64_t ns) { return std::to_string(ns / 1'000'000'000) + " s"; }

// Return a batch of `schema` with the given rows. `from`: indexes of its columns in `in`; null: all columns.
pl::batch selected(pl::context ctx, pl::batch_view in, const pl_schema* schema,
                   const std::vector<pl::column_index>* from, const std::vector<std::uint32_t>& rows) {
  auto b = ctx.derive(in, schema, in.rows());
  for (pl::column_index c = 0; c < schema->ncols; ++c) b.share_column(c, in.column(from ? (*from)[c] : c));
  auto to = b.allocate<std::uint32_t>(rows.size());
  std::copy(rows.begin(), rows.end(), to.begin());
  b.select(to);
  return std::move(b).finish();
}

void add(const pl::counter& to, std::uint64_t n) {
  if (n != 0) to.add(static_cast<double>(n));
}

}  // namespace

pl::option_table<options> options::table() {
  using pl::option;
  return {
      option(&options::by, "by",
             "Columns whose values together identify a record. Include the record's own time, a sequence number, or an "
             "id derived from one of these, because two readings of the same value are two records. A record with a "
             "null in one of these columns passes.")
          .required()
          .example("[message_id, time]"),
      option(&options::when, "when",
             "Boolean column: a record is dropped only if this column is true. All records enter the window. Example: "
             "`duplicate` of mqtt_source, the flag of messages that the broker has sent before.")
          .example("duplicate"),
      option(&options::within, "within",
             "Time window in which duplicates are found, measured in the stream's own time, which is the time of its "
             "newest record. A late record stays in the window as long as other records, counted from its arrival.")
          .range(1),
      option(&options::time_column, "time_column", "Column with the time that `within` is measured in."),
      option(&options::max_keys, "max_keys",
             "Maximum number of records in the window of one stream (partition). When it is reached, old records leave "
             "the window before `within` is over; at least half of this number stay. Each record takes about 40 bytes "
             "of memory and 17 bytes of state.")
          .range(2, 100'000'000),
      option(&options::omit, "omit", "Columns to remove from the output, such as columns that only `by` needs.")
          .example("[message_id]")};
}

pl::description deduplicate::describe() {
  return {.name = "deduplicate",
          .doc =
              "Drops duplicate records and passes on all others unchanged.\n"
              "Its state is stored with the positions in the sink, so that it also finds duplicates of records from "
              "before a crash. Dropped rows are emitted on the port `duplicates`.",
          .example =
              "plugin: deduplicate\n"
              "from: parsed\n"
              "by: [message_id, time]\n"
              "within: 10m\n",
          .ports = {"out", "duplicates"},
          .abilities = PL_DETERMINISTIC};
}

deduplicate::deduplicate(options given, pl::context ctx) : options_(std::move(given)), ctx_(ctx), clock_(ctx.raw()) {
  bool sound = !options_.by.empty();
  if (!sound) ctx.option_error("by", "by is empty, so that records cannot be identified; name at least one column");
  std::set<std::string_view> named;
  for (std::size_t i = 0; i < options_.by.size(); ++i)
    if (!named.insert(options_.by[i]).second) {
      ctx.option_error("by[" + std::to_string(i) + "]", "'" + options_.by[i] + "' is listed twice");
      sound = false;
    }
  if (!sound) throw pl::invalid_options{};
  dropped_ = ctx.counter("deduplicated_total", "Duplicate records that were dropped");
  const auto passed = [&](std::string_view why) {
    return ctx.counter("deduplicate_unidentified_total",
                       "Records that passed because they could not be identified, by reason", {{"reason", why}});
  };
  no_value_ = passed("null");
  no_position_ = passed("no_position");
  early_ = ctx.counter("deduplicate_forgotten_early_total",
                       "Records that left the window before `within` was over, because max_keys was reached");
  remembered_ = ctx.summed_gauge("deduplicate_remembered", "Records in the window");
  bytes_ = ctx.summed_gauge("deduplicate_memory_bytes", "Memory used by the windows");
}

pl::result<const pl_schema*> deduplicate::columns(const pl_schema* in, std::uint32_t port) {
  if (in == nullptr) return static_cast<const pl_schema*>(nullptr);
  const auto check = [&](const std::vector<std::string>& names, const std::string& option) -> pl::result<void> {
    for (std::size_t i = 0; i < names.size(); ++i)
      if (!pl::find_column(*in, names[i]))
        return pl::bad_option(option + "[" + std::to_string(i) + "]", missing(names[i], *in));
    return {};
  };
  if (auto r = check(options_.by, "by"); !r.ok()) return r.why();
  if (auto r = check(options_.omit, "omit"); !r.ok()) return r.why();
  if (options_.when && !pl::find_column(*in, *options_.when))
    return pl::bad_option("when", missing(*options_.when, *in));
  if (!pl::find_column(*in, options_.time_column))
    return pl::bad_option("time_column", missing(options_.time_column, *in));
  return port == duplicates ? in : without_omitted(*in);
}

pl::column_use deduplicate::used_columns() const {
  pl::column_use use{options_.by, true};
  use.columns.push_back(options_.time_column);
  if (options_.when) use.columns.push_back(*options_.when);
  return use;
}

pl::result<pl::column_set> deduplicate::typed_columns(const pl::column_set& in, std::uint32_t port) {
  const auto out = columns(in.schema, port);
  if (!out.ok()) return out.why();
  if (auto why = pl::wrong_kind(in, "time_column", options_.time_column, {PL_TIME_NS})) return *std::move(why);
  if (options_.when)
    if (auto why = pl::wrong_kind(in, "when", *options_.when, {PL_BOOL})) return *std::move(why);
  pl::column_set all{*out};
  for (pl::column_index c = 0; all.schema != nullptr && !in.kinds.empty() && c < all.schema->ncols; ++c)
    all.kinds.push_back(in.kind_of(pl::view(all.schema->names[c])));
  return all;
}

const pl_schema* deduplicate::without_omitted(const pl_schema& in) const {
  std::vector<std::string_view> names;
  for (pl::column_index c = 0; c < in.ncols; ++c)
    if (std::ranges::find(options_.omit, pl::view(in.names[c])) == options_.omit.end())
      names.push_back(pl::view(in.names[c]));
  return names.size() == in.ncols ? &in : ctx_.schema(names);
}

pl::result<void> deduplicate::bind(const pl_schema& schema) {
  bound_ = nullptr;
  if (auto known = columns(&schema, unique); !known.ok()) return known.why();
  by_.clear();
  for (const auto& name : options_.by) by_.push_back(*pl::find_column(schema, name));
  time_ = *pl::find_column(schema, options_.time_column);
  when_ = options_.when ? pl::find_column(schema, *options_.when) : std::nullopt;
  output_schema_ = without_omitted(schema);
  output_columns_.clear();
  for (pl::column_index c = 0; c < output_schema_->ncols; ++c)
    output_columns_.push_back(*pl::find_column(schema, pl::view(output_schema_->names[c])));
  bound_ = &schema;
  return {};
}

pl::result<void> deduplicate::apply(pl::batch_view in, pl::emitter& out) {
  if (bound_ != &in.schema())
    if (auto bound = bind(in.schema()); !bound.ok()) return bound;
  enter(in);
  run(in);
  if (duplicates_.empty() && output_schema_ == bound_)
    out.pass(in);
  else if (!unique_.empty())
    emit_unique(in, out);
  if (!duplicates_.empty()) emit_duplicates(in, out);
  report();
  return {};
}

void deduplicate::emit_unique(pl::batch_view in, pl::emitter& out) const {
  out.emit(selected(ctx_, in, output_schema_, &output_columns_, unique_), unique);
}

void deduplicate::emit_duplicates(pl::batch_view in, pl::emitter& out) const {
  out.emit(selected(ctx_, in, bound_, nullptr, duplicates_), duplicates);
}

deduplicate::stream_state& deduplicate::state_of(std::string_view stream) {
  if (const auto at = streams_.find(stream); at != streams_.end()) return *at->second;
  const limits most{options_.within.count(), static_cast<std::uint32_t>(options_.max_keys)};
  return *streams_.emplace(stream, std::make_unique<stream_state>(random_key(), most)).first->second;
}

void deduplicate::enter(pl::batch_view in) {
  latest_ = clock_.now_ns() + std::chrono::nanoseconds(max_ahead).count();
  unique_.clear();
  duplicates_.clear();
  origins_.clear();
  by_cells_.clear();
  for (const auto c : by_) by_cells_.push_back(in.column(c).data());
  for (const auto& range : in.ranges()) {
    auto& m = state_of(pl::view(range.stream));
    // After a restore, the records from `first` on are read again: remove them from the window.
    if (std::exchange(m.reread, false)) m.seen.remove_from(range.first);
    origins_.push_back(&m);
  }
}

void deduplicate::run(pl::batch_view in) {
  if (!in.has_positions() || origins_.empty()) {
    // Without a position, a second record cannot be distinguished from the same record read again.
    for (const auto row : in.selection()) unique_.push_back(row);
    positionless_ += in.selected();
    return;
  }
  for (std::uint32_t from = 0; from < in.selected(); from += rows_per_step)
    run_some(in, from, std::min(from + rows_per_step, in.selected()));
}

void deduplicate::run_some(pl::batch_view in, std::uint32_t from, std::uint32_t to) {
  const auto rows = in.selection();
  for (auto i = from; i < to; ++i) {
    auto& m = *origins_[in.origin(rows[i])];
    const bool known = identify(rows[i], m, ids_[i - from]);
    owners_[i - from] = known ? &m : nullptr;
    if (known) m.seen.prefetch(ids_[i - from]);
  }
  const auto* times = in.column(time_).data();
  const auto* when = when_ ? in.column(*when_).data() : nullptr;
  for (auto i = from; i < to; ++i) {
    const auto row = rows[i];
    auto* m = owners_[i - from];
    if (m == nullptr) {
      unique_.push_back(row);
      continue;
    }
    if (times[row].kind == PL_TIME_NS && times[row].as.i <= latest_) m->seen.advance(times[row].as.i);
    const bool again = m->seen.seen_before(ids_[i - from], in.position(row));
    const bool may_go = when == nullptr || (when[row].kind == PL_BOOL && when[row].as.i != 0);
    (again && may_go ? duplicates_ : unique_).push_back(row);
  }
}

// Compute the row's identity. Return false if one of the columns is null.
bool deduplicate::identify(pl::row_index row, const stream_state& of, identity& made) {
  cell_hash hash(of.hash_key);
  for (const auto* column : by_cells_) {
    const auto& cell = column[row];
    if (pl::is_null(cell)) return ++nulls_, false;
    add_cell(hash, cell);
  }
  made = hash.finish();
  return true;
}

void deduplicate::report() {
  add(dropped_, duplicates_.size());
  add(no_value_, std::exchange(nulls_, 0));
  add(no_position_, std::exchange(positionless_, 0));
  report_sizes();
  for (const auto& [name, m] : streams_) {
    const auto early = m->seen.take_early();
    add(early_, early);
    if (early != 0) warn_of_short_window(m->seen);
  }
}

void deduplicate::report_sizes() {
  std::size_t size = 0, bytes = 0;
  for (const auto& [name, m] : streams_) {
    size += m->seen.size();
    bytes += m->seen.bytes();
  }
  remembered_.set(static_cast<double>(size));
  bytes_.set(static_cast<double>(bytes));
  if (ctx_.holds_memory(bytes) || std::exchange(warned_of_memory_, true)) return;
  ctx_.warn(
      "the windows of " + std::to_string(streams_.size()) + " streams use " + std::to_string(bytes >> 20U) +
      " MiB, more than memory_limit allows for the state of transforms (three eighths of it): raise memory_limit, or "
      "lower max_keys");
}

void deduplicate::warn_of_short_window(const window& cut) {
  if (std::exchange(warned_, true)) return;
  ctx_.warn(
      "max_keys (" + std::to_string(options_.max_keys) + ") limits the window to " + seconds_text(cut.span()) +
      " instead of the " + seconds_text(options_.within.count()) +
      " of within, and later duplicates pass; raise max_keys (about 40 bytes of memory for each record), or lower "
      "within");
}

// ---------------------------------------------------------------------------------------------------------- state ---

void deduplicate::revoked(std::string_view stream) {
  if (const auto at = streams_.find(stream); at != streams_.end()) streams_.erase(at);
  if (const auto at = restoring_.find(stream); at != restoring_.end()) restoring_.erase(at);
  report_sizes();
}

pl::result<void> deduplicate::restore(std::string_view stream, std::string_view key, std::string_view value) {
  restoring_[std::string(stream)].insert_or_assign(std::string(key), std::string(value));
  return {};
}

// Rebuild the window. An offset reset needs no special handling: `enter` removes the records that are read again, and
// the records before that position stay valid.
pl::result<void> deduplicate::restored(std::string_view stream, bool) {
  const auto at = restoring_.find(stream);
  if (at == restoring_.end()) return {};
  const auto kept = std::move(at->second);
  restoring_.erase(at);
  streams_.insert_or_assign(std::string(stream), rebuild(stream, kept));
  report_sizes();
  return {};
}

// Return a stream's key with the present options.
stored_key deduplicate::key_of(const identity& hash_key) const {
  std::string by;
  for (const auto& column : options_.by) by.append(column).push_back('\0');
  return {hash_key, std::max(1U, pl::fnv1a_32(by)), std::max(1U, pl::fnv1a_32(options_.time_column))};
}

// Build the window from stored state. State that cannot be read, or that other options made, is logged and discarded,
// because passing duplicates is better than stopping the stream or dropping a record that has no duplicate.
std::unique_ptr<deduplicate::stream_state> deduplicate::rebuild(std::string_view stream,
                                                                const stored_state& kept) const {
  const limits most{options_.within.count(), static_cast<std::uint32_t>(options_.max_keys)};
  const auto discarded = [&](const std::string& why) {
    ctx_.error("discarded deduplication state of stream " + std::string(stream) +
               ", so that duplicates of its records pass for the time of within: " + why);
  };
  pl::result<stored_key> key = key_of(random_key());
  const auto key_at = kept.find(hash_key_name);
  if (key_at != kept.end()) key = decode_key(key_at->second);
  if (!key.ok()) discarded(key.why().message);
  const bool other_columns = key.ok() && key->by != 0 && key->by != key_of({}).by;
  if (other_columns)
    ctx_.warn("`by` was changed: the window of stream " + std::string(stream) +
              " starts empty, so that duplicates of its records pass for the time of within");
  const bool usable = key_at != kept.end() && key.ok() && !other_columns;
  auto m = std::make_unique<stream_state>(usable ? key->hash_key : random_key(), most);
  m->key_stored = usable && *key == key_of(m->hash_key);
  m->reread = true;
  for (const auto& [name, bytes] : kept) {
    const auto number = slice_number(name);
    if (!number) continue;
    auto found = decode_slice(*number, bytes);
    if (!found.ok() && usable) discarded(found.why().message);
    if (found.ok() && usable)
      m->seen.restore(found->about, found->entries);
    else
      m->seen.discard(*number);
  }
  if (usable && key->time_column != 0 && key->time_column != key_of({}).time_column) m->seen.forget_times();
  m->seen.restored();
  return m;
}

pl::result<void> deduplicate::snapshot(std::string_view stream) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return {};
  auto& m = *at->second;
  if (!std::exchange(m.key_stored, true)) ctx_.put(stream, hash_key_name, encode(key_of(m.hash_key)));
  m.seen.seal();
  for (const auto number : m.seen.take_removed()) ctx_.erase(stream, slice_name(number));
  m.seen.for_each_changed([&](const slice& s, std::span<const entry> entries) {
    ctx_.put(stream, slice_name(s.number), encode(s, entries));
  });
  return {};
}

}  // namespace deduplicate
