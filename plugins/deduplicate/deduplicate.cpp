// SPDX-License-Identifier: Apache-2.0
#include "deduplicate.hpp"

#include "codec.hpp"

#include <algorithm>
#include <random>
#include <set>

namespace deduplicate {

namespace {

// A clock that is further ahead than this is wrong, and does not move the window.
constexpr auto max_ahead = std::chrono::minutes(5);

std::string missing(std::string_view column, const pl_schema& in) {
  std::string why = "no column '" + std::string(column) + "' comes in; there are: ";
  for (pl::column_index c = 0; c < in.ncols; ++c) why += (c == 0 ? "" : ", ") + std::string(pl::view(in.names[c]));
  return why;
}

identity random_key() {
  std::random_device random;
  const auto word = [&random] { return std::uint64_t{random()} << 32 | random(); };
  return {word(), word()};
}

std::string seconds_text(std::int64_t ns) { return std::to_string(ns / 1'000'000'000) + " s"; }

// Only these rows, in a batch of `schema` that has the columns `from` of its parent.
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
      option(
          &options::by, "by",
          "Columns whose values together tell a record from all others. Name the record's own time, or a number that "
          "it counts, among them, or an id that was made of it: two readings of the same value are two records. A "
          "record with a null in one of them passes.")
          .required()
          .example("[message_id, time]"),
      option(&options::when, "when",
             "Column of true and false: only where it is true a record may be dropped; all are remembered. MQTT's "
             "`duplicate`, say: a message that the broker has sent before.")
          .example("duplicate"),
      option(&options::within, "within",
             "How long a record is remembered, in the stream's own time: that of its newest record. A late record is "
             "remembered as long as others, from when it came.")
          .range(1),
      option(&options::time_column, "time_column", "Column with the time that `within` is measured in."),
      option(&options::max_keys, "max_keys",
             "Records of a stream (a partition) that are remembered at most, whatever `within` says; at least half as "
             "many are. About 40 bytes of "
             "memory and 17 bytes of state each.")
          .range(2, 100'000'000),
      option(&options::omit, "omit", "Columns that end here: they were needed for `by` alone.")
          .example("[message_id]")};
}

pl::description deduplicate::describe() {
  return {.name = "deduplicate",
          .doc =
              "Drops records that were there before, and passes on the others as they are.\n"
              "What it remembers is kept with the positions of the sink: after a crash it knows exactly what it knew. "
              "Dropped rows come out on the port `duplicates`.",
          .example =
              "plugin: deduplicate\n"
              "from: parsed\n"
              "by: [message_id, time]\n"
              "within: 10m\n",
          .ports = {"out", "duplicates"},
          .abilities = PL_DETERMINISTIC};
}

deduplicate::deduplicate(options given, pl::context ctx) : options_(std::move(given)), ctx_(ctx) {
  bool sound = !options_.by.empty();
  if (!sound) ctx.option_error("by", "names no column: nothing tells records apart");
  std::set<std::string_view> named;
  for (std::size_t i = 0; i < options_.by.size(); ++i)
    if (!named.insert(options_.by[i]).second) {
      ctx.option_error("by[" + std::to_string(i) + "]", "'" + options_.by[i] + "' is there twice");
      sound = false;
    }
  if (!sound) throw pl::invalid_options{};
  dropped_ = ctx.counter("deduplicated_total", "Records that were there before, and were dropped");
  const auto passed = [&](std::string_view why) {
    return ctx.counter("deduplicate_unidentified_total",
                       "Records that passed because nothing identifies them, by reason", {{"reason", why}});
  };
  no_value_ = passed("null");
  no_position_ = passed("no_position");
  early_ = ctx.counter("deduplicate_forgotten_early_total",
                       "Records forgotten before `within` was over, because max_keys were remembered");
  remembered_ = ctx.gauge("deduplicate_remembered", "Records that are remembered");
  bytes_ = ctx.gauge("deduplicate_memory_bytes", "Memory of what is remembered");
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
  narrowed_ = without_omitted(schema);
  stay_.clear();
  for (pl::column_index c = 0; c < narrowed_->ncols; ++c)
    stay_.push_back(*pl::find_column(schema, pl::view(narrowed_->names[c])));
  bound_ = &schema;
  return {};
}

pl::result<void> deduplicate::apply(pl::batch_view in, pl::emitter& out) {
  if (bound_ != &in.schema())
    if (auto bound = bind(in.schema()); !bound.ok()) return bound;
  enter(in);
  run(in);
  if (again_.empty() && narrowed_ == bound_)
    out.pass(in);
  else if (!first_.empty())
    emit_unique(in, out);
  if (!again_.empty()) emit_duplicates(in, out);
  report();
  return {};
}

void deduplicate::emit_unique(pl::batch_view in, pl::emitter& out) const {
  out.emit(selected(ctx_, in, narrowed_, &stay_, first_), unique);
}

void deduplicate::emit_duplicates(pl::batch_view in, pl::emitter& out) const {
  out.emit(selected(ctx_, in, bound_, nullptr, again_), duplicates);
}

deduplicate::memory& deduplicate::memory_of(std::string_view stream) {
  if (const auto at = streams_.find(stream); at != streams_.end()) return *at->second;
  const limits most{options_.within.count(), static_cast<std::uint32_t>(options_.max_keys)};
  return *streams_.emplace(stream, std::make_unique<memory>(random_key(), most)).first->second;
}

void deduplicate::enter(pl::batch_view in) {
  latest_ = std::chrono::duration_cast<std::chrono::nanoseconds>(
                (std::chrono::system_clock::now() + max_ahead).time_since_epoch())
                .count();
  first_.clear();
  again_.clear();
  origins_.clear();
  by_cells_.clear();
  for (const auto c : by_) by_cells_.push_back(in.column(c).data());
  for (const auto& range : in.ranges()) {
    auto& m = memory_of(pl::view(range.stream));
    // Whoever sent the stream back, or could not write what was remembered last: what comes again is looked at again.
    if (std::exchange(m.comes_again, false)) m.seen.forget_from(range.first);
    origins_.push_back(&m);
  }
}

void deduplicate::run(pl::batch_view in) {
  if (!in.has_positions() || origins_.empty()) {
    // Nobody could say whether it is another record or the same one, read again.
    for (const auto row : in.selection()) first_.push_back(row);
    placeless_ += in.selected();
    return;
  }
  for (std::uint32_t from = 0; from < in.selected(); from += at_once)
    run_some(in, from, std::min(from + at_once, in.selected()));
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
      first_.push_back(row);
      continue;
    }
    if (times[row].kind == PL_TIME_NS && times[row].as.i <= latest_) m->seen.advance(times[row].as.i);
    const bool again = m->seen.seen_before(ids_[i - from], in.position(row));
    const bool may_go = when == nullptr || (when[row].kind == PL_BOOL && when[row].as.i != 0);
    (again && may_go ? again_ : first_).push_back(row);
  }
}

// False: one of its columns is null.
bool deduplicate::identify(pl::row_index row, const memory& of, identity& made) {
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
  add(dropped_, again_.size());
  add(no_value_, std::exchange(nulls_, 0));
  add(no_position_, std::exchange(placeless_, 0));
  std::size_t size = 0, bytes = 0;
  for (const auto& [name, m] : streams_) {
    size += m->seen.size();
    bytes += m->seen.bytes();
    const auto early = m->seen.take_early();
    add(early_, early);
    if (early != 0) warn_of_short_window(m->seen);
  }
  remembered_.set(static_cast<double>(size));
  bytes_.set(static_cast<double>(bytes));
}

void deduplicate::warn_of_short_window(const window& cut) {
  if (std::exchange(warned_, true)) return;
  ctx_.warn(
      "what max_keys (" + std::to_string(options_.max_keys) + ") lets it remember spans only " +
      seconds_text(cut.span()) + " of the " + seconds_text(options_.within.count()) +
      " of within: a duplicate that comes later than that passes; raise max_keys (about 40 bytes of memory each), or "
      "lower within");
}

// ---------------------------------------------------------------------------------------------------------- state ---

void deduplicate::drop(std::string_view stream) {
  if (const auto at = streams_.find(stream); at != streams_.end()) streams_.erase(at);
  if (const auto at = restoring_.find(stream); at != restoring_.end()) restoring_.erase(at);
}

pl::result<void> deduplicate::restore(std::string_view stream, std::string_view key, std::string_view value) {
  restoring_[std::string(stream)].insert_or_assign(std::string(key), std::string(value));
  return {};
}

// Sent elsewhere or not: what is remembered of records before the place from which they come is as good as before.
pl::result<void> deduplicate::restored(std::string_view stream, bool) {
  const auto at = restoring_.find(stream);
  if (at == restoring_.end()) return {};
  const auto kept = std::move(at->second);
  restoring_.erase(at);
  streams_.insert_or_assign(std::string(stream), recall(stream, kept));
  return {};
}

// Records are worth more than what was remembered of them: what can't be read is forgotten, and said.
std::unique_ptr<deduplicate::memory> deduplicate::recall(std::string_view stream, const kept_state& kept) const {
  const limits most{options_.within.count(), static_cast<std::uint32_t>(options_.max_keys)};
  const auto forgotten = [&](const pl::failure& why) {
    ctx_.error("what was remembered of " + std::string(stream) + " is lost, and duplicates of it pass: " + why.message);
  };
  pl::result<identity> key = random_key();
  const auto key_at = kept.find(hash_key_name);
  if (key_at != kept.end()) key = decode_hash_key(key_at->second);
  const bool usable = key_at != kept.end() && key.ok();
  if (!key.ok()) forgotten(key.why());
  auto m = std::make_unique<memory>(key.ok() ? *key : random_key(), most);
  m->key_kept = usable;
  m->comes_again = true;
  for (const auto& [name, bytes] : kept) {
    const auto number = slice_number(name);
    if (!number) continue;
    auto found = decode_slice(*number, bytes);
    if (!found.ok() && usable) forgotten(found.why());
    if (found.ok() && usable)
      m->seen.restore(found->about, found->entries);
    else
      m->seen.discard(*number);
  }
  return m;
}

pl::result<void> deduplicate::snapshot(std::string_view stream) {
  const auto at = streams_.find(stream);
  if (at == streams_.end()) return {};
  auto& m = *at->second;
  if (!std::exchange(m.key_kept, true)) ctx_.put(stream, hash_key_name, encode(m.hash_key));
  m.seen.seal();
  for (const auto number : m.seen.take_gone()) ctx_.erase(stream, slice_name(number));
  m.seen.for_each_changed([&](const slice& s, std::span<const entry> entries) {
    ctx_.put(stream, slice_name(s.number), encode(s, entries));
  });
  return {};
}

}  // namespace deduplicate
