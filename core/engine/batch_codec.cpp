// SPDX-License-Identifier: Apache-2.0
#include "engine/batch_codec.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <new>
#include <span>
#include <string>
#include <vector>

namespace pl::engine {

namespace {

// The columns of an original record that a dead letter shows (dead_letter_batch.cpp).
constexpr std::array<std::string_view, 5> original_columns{"topic", "key", "value", "headers", "time"};
constexpr std::uint8_t same_as_before = 0x80;  // a cell equals the one above it

bool same_cell(const pl_cell& a, const pl_cell& b) {
  if (a.kind != b.kind || a.len != b.len) return false;
  return has_bytes(a) ? bytes_of(a) == bytes_of(b) : a.as.i == b.as.i;
}

bool keeps_originals(record_batch& root) { return root.view().find("value").has_value(); }

class writer_of_bytes {
 public:
  explicit writer_of_bytes(std::string& out) : out_(out) {}

  template <class T>
  void number(T value) {
    std::array<char, sizeof(T)> raw;
    std::memcpy(raw.data(), &value, sizeof(T));
    out_.append(raw.data(), raw.size());
  }
  void text(std::string_view bytes) {
    number(static_cast<std::uint64_t>(bytes.size()));
    out_.append(bytes);
  }
  // Write one element for each row, or that there is no such array.
  template <class T>
  void array(const T* values, std::span<const std::uint32_t> rows) {
    number(static_cast<std::uint8_t>(values != nullptr ? 1 : 0));
    if (values == nullptr) return;
    for (const auto row : rows) number(values[row]);
  }
  void cells(const pl_cell* column, std::span<const std::uint32_t> rows) {
    const pl_cell* before = nullptr;
    for (const auto row : rows) {
      const auto& c = column[row];
      const bool same = before != nullptr && same_cell(c, *before);
      number(static_cast<std::uint8_t>(c.kind | (same ? same_as_before : 0U)));
      before = &c;
      if (same || is_null(c)) continue;
      if (has_bytes(c))
        text(bytes_of(c));
      else
        number(c.as.i);  // the representation of a real, too
    }
  }
  void ranges(const record_batch& of) {
    number(of.nranges);
    for (std::uint32_t i = 0; i < of.nranges; ++i) {
      const auto& r = of.ranges[i];
      text(pl::view(r.stream));
      text(pl::view(r.source));
      for (const auto n : {r.first, r.next, r.end, r.epoch}) number(n);
    }
  }
  void changes(const record_batch& of) {
    number(of.nstate_changes);
    for (std::uint32_t i = 0; i < of.nstate_changes; ++i) {
      const auto& c = of.state_changes[i];
      number(c.range);
      number(c.erase);
      for (const auto part : {c.node, c.key, c.value}) text(pl::view(part));
    }
  }

 private:
  std::string& out_;
};

// A source batch, and those of its rows that the group derives from.
struct original {
  record_batch* root;
  std::vector<std::uint32_t> rows;
};

// Note the rows of the root that the selected rows of a batch derive from. They keep their order, so that the search for a
// position begins where the last one ended.
void find_originals(record_batch& of, original& in) {
  auto& root = *in.root;
  if (of.pos == nullptr || root.pos == nullptr || root.rows == 0) return;
  std::uint32_t hint = 0;
  for (const auto row : of.view().selection()) {
    if (&root == &of || (root.pos == of.pos && root.rows == of.rows)) {
      in.rows.push_back(row);
      continue;
    }
    const auto stream = of.view().stream(row);
    for (std::uint32_t i = 0; i < root.rows; ++i) {
      const auto at = (hint + i) % root.rows;
      if (root.pos[at] != of.pos[row] || root.view().stream(at) != stream) continue;
      in.rows.push_back(hint = at);
      break;
    }
  }
}

std::vector<original> originals_of(const batch_refs& group) {
  std::vector<original> all;
  for (const auto& b : group) {
    auto* root = &b->root();
    auto at = std::ranges::find(all, root, &original::root);
    if (at == all.end()) at = all.insert(all.end(), original{root, {}});
    if (keeps_originals(*root)) find_originals(*b, *at);
  }
  for (auto& o : all) {
    std::ranges::sort(o.rows);
    o.rows.erase(std::unique(o.rows.begin(), o.rows.end()), o.rows.end());
  }
  return all;
}

// Write a column of the root that a dead letter may need, also one that is made on demand: its source releases what it is
// made from.
void write_original(writer_of_bytes& w, const original& from, column_index column) {
  auto& root = *from.root;
  auto* late = root.late();
  if (late == nullptr || !late->has(column)) return w.cells(root.cols[column], from.rows);
  std::vector<pl_cell> made(root.rows, null_cell());
  std::deque<std::string> bytes;
  for (const auto row : from.rows)
    late->make(root, column, row, [&](const pl_cell& c) {
      made[row] = has_bytes(c) ? span_cell(c.kind, bytes.emplace_back(bytes_of(c))) : c;
    });
  w.cells(made.data(), from.rows);
}

void write_root(writer_of_bytes& w, const original& from, schema_numbers& schemas) {
  auto& root = *from.root;
  w.number(schemas.number_of(root.schema));
  w.number(static_cast<std::uint32_t>(from.rows.size()));
  std::vector<column_index> kept;
  for (const auto name : original_columns)
    if (const auto at = root.view().find(name); at && !from.rows.empty()) kept.push_back(*at);
  w.number(static_cast<std::uint32_t>(kept.size()));
  for (const auto c : kept) {
    w.number(c);
    write_original(w, from, c);
  }
  w.array(root.pos, from.rows);
  w.array(root.origin, from.rows);
  w.ranges(root);
}

void write_batch(writer_of_bytes& w, record_batch& b, std::uint32_t root, schema_numbers& schemas) {
  const auto selection = b.view().selection();
  const std::vector<std::uint32_t> rows(selection.begin(), selection.end());
  w.number(root);
  w.number(schemas.number_of(b.schema));
  w.number(static_cast<std::uint32_t>(rows.size()));
  if (!rows.empty())
    for (column_index c = 0; c < b.schema->ncols; ++c) w.cells(b.cols[c], rows);
  w.array(b.pos, rows);
  w.array(b.arrival, rows);
  w.array(b.origin, rows);
  w.ranges(b);
  w.changes(b);
}

// Reads what writer_of_bytes wrote, into the memory of a batch. Throws out_of_bytes if it ends early.
struct out_of_bytes {};

class reader_of_bytes {
 public:
  explicit reader_of_bytes(std::string_view bytes) : left_(bytes) {}

  template <class T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
    return value;
  }
  std::string_view text() { return take(number<std::uint64_t>()); }
  // Return a number of elements, each of which takes at least one byte.
  std::uint32_t count() {
    const auto n = number<std::uint32_t>();
    if (n > left_.size()) throw out_of_bytes();
    return n;
  }
  template <class T>
  const T* array(record_batch& in, std::uint32_t rows) {
    if (number<std::uint8_t>() == 0) return nullptr;
    auto* values = allocate<T>(in, rows);
    for (std::uint32_t i = 0; i < rows; ++i) values[i] = number<T>();
    return values;
  }
  const pl_cell* cells(record_batch& in, std::uint32_t rows) {
    auto* column = allocate<pl_cell>(in, rows);
    for (std::uint32_t i = 0; i < rows; ++i) {
      const auto tag = number<std::uint8_t>();
      if ((tag & same_as_before) != 0) {
        if (i == 0) throw out_of_bytes();
        column[i] = column[i - 1];
        continue;
      }
      if (tag > PL_JSON) throw out_of_bytes();
      column[i] = {tag, 0, {.i = 0}};
      if (has_bytes(column[i]))
        column[i] = span_cell(tag, copied(in, text()));
      else if (tag != PL_NULL)
        column[i].as.i = number<std::int64_t>();
    }
    return column;
  }
  void ranges(record_batch& in) {
    const auto n = count();
    auto* ranges = allocate<pl_range>(in, n);
    for (std::uint32_t i = 0; i < n; ++i) {
      auto& r = ranges[i];
      r.stream = borrow(copied(in, text()));
      r.source = borrow(copied(in, text()));
      for (auto* to : {&r.first, &r.next, &r.end, &r.epoch}) *to = number<std::uint64_t>();
    }
    in.ranges = ranges;
    in.nranges = n;
  }
  void changes(record_batch& in) {
    const auto n = count();
    auto* changes = allocate<pl_state_change>(in, n);
    for (std::uint32_t i = 0; i < n; ++i) {
      auto& c = changes[i];
      c.range = number<std::uint32_t>();
      c.erase = number<std::uint32_t>();
      for (auto* to : {&c.node, &c.key, &c.value}) *to = borrow(copied(in, text()));
    }
    in.state_changes = n == 0 ? nullptr : changes;
    in.nstate_changes = n;
  }
  [[nodiscard]] bool at_end() const noexcept { return left_.empty(); }

 private:
  std::string_view take(std::uint64_t bytes) {
    if (bytes > left_.size()) throw out_of_bytes();
    const auto taken = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    return taken;
  }
  template <class T>
  static T* allocate(record_batch& in, std::uint32_t n) {
    auto* p = static_cast<T*>(in.alloc(sizeof(T) * std::max(1U, n), alignof(T)));
    if (p == nullptr) throw std::bad_alloc();
    return p;
  }
  static std::string_view copied(record_batch& in, std::string_view bytes) {
    if (bytes.empty()) return {};
    auto* p = static_cast<char*>(in.alloc(bytes.size(), 1));
    if (p == nullptr) throw std::bad_alloc();
    std::memcpy(p, bytes.data(), bytes.size());
    return {p, bytes.size()};
  }

  std::string_view left_;
};

const pl_schema* read_schema(reader_of_bytes& r, const schema_numbers& schemas) {
  const auto* schema = schemas.at(r.number<std::uint32_t>());
  if (schema == nullptr) throw out_of_bytes();
  return schema;
}

batch_ref make_batch(block_pool& pool, record_batch* parent, const pl_schema* schema, std::uint32_t rows) {
  batch_ref made(new record_batch(pool, parent, schema, rows));
  if (made->cols == nullptr) throw std::bad_alloc();
  // What the constructor took over from the parent is replaced.
  made->pos = nullptr, made->arrival = nullptr, made->origin = nullptr;
  made->set_checked();
  return made;
}

batch_ref read_root(reader_of_bytes& r, const schema_numbers& schemas, block_pool& pool) {
  const auto* schema = read_schema(r, schemas);
  const auto rows = r.count();
  auto root = make_batch(pool, nullptr, schema, rows);
  auto* nulls = static_cast<pl_cell*>(root->alloc(sizeof(pl_cell) * std::max(1U, rows), alignof(pl_cell)));
  if (nulls == nullptr) throw std::bad_alloc();
  std::fill_n(nulls, rows, null_cell());
  std::fill_n(root->cols, schema->ncols, nulls);
  for (auto left = r.number<std::uint32_t>(); left != 0; --left) {
    const auto c = r.number<std::uint32_t>();
    if (c >= schema->ncols) throw out_of_bytes();
    root->cols[c] = r.cells(*root, rows);
  }
  root->pos = r.array<std::uint64_t>(*root, rows);
  root->origin = r.array<std::uint32_t>(*root, rows);
  r.ranges(*root);
  return root;
}

batch_ref read_batch(reader_of_bytes& r, const schema_numbers& schemas, const batch_refs& roots, block_pool& pool) {
  const auto root = r.number<std::uint32_t>();
  if (root >= roots.size()) throw out_of_bytes();
  const auto* schema = read_schema(r, schemas);
  const auto rows = r.count();
  auto b = make_batch(pool, roots[root].get(), schema, rows);
  if (rows != 0)
    for (column_index c = 0; c < schema->ncols; ++c) b->cols[c] = r.cells(*b, rows);
  b->pos = r.array<std::uint64_t>(*b, rows);
  b->arrival = r.array<std::int64_t>(*b, rows);
  b->origin = r.array<std::uint32_t>(*b, rows);
  r.ranges(*b);
  r.changes(*b);
  return b;
}

}  // namespace

std::uint32_t schema_numbers::number_of(const pl_schema* schema) {
  std::scoped_lock lock(mutex_);
  const auto at = std::ranges::find(schemas_, schema);
  const auto number = static_cast<std::uint32_t>(at - schemas_.begin());
  if (at == schemas_.end()) schemas_.push_back(schema);
  return number;
}

const pl_schema* schema_numbers::at(std::uint32_t number) const {
  std::scoped_lock lock(mutex_);
  return number < schemas_.size() ? schemas_[number] : nullptr;
}

bool lacks_positions(const batch_refs& group) {
  return std::ranges::any_of(group, [](const auto& b) {
    auto& root = b->root();
    return b->nsel != 0 && root.pos == nullptr && root.rows != 0 && keeps_originals(root);
  });
}

bool can_encode(const batch_refs& group) {
  const auto is_special = [](const auto& b) { return b->awaited() || b->replaced().original != nullptr; };
  return !lacks_positions(group) && std::ranges::none_of(group, is_special);
}

settlement_list encode(const batch_refs& group, schema_numbers& schemas, std::string& out) {
  writer_of_bytes w(out);
  const auto originals = originals_of(group);
  settlement_list settlements;
  w.number(static_cast<std::uint32_t>(originals.size()));
  for (const auto& from : originals) {
    write_root(w, from, schemas);
    settlements.push_back(from.root->settles());
  }
  w.number(static_cast<std::uint32_t>(group.size()));
  for (const auto& b : group) {
    const auto root = std::ranges::find(originals, &b->root(), &original::root) - originals.begin();
    write_batch(w, *b, static_cast<std::uint32_t>(root), schemas);
  }
  return settlements;
}

std::optional<batch_refs> decode(std::string_view bytes, const schema_numbers& schemas, settlement_span settlements,
                                 block_pool& pool) {
  try {
    reader_of_bytes r(bytes);
    batch_refs roots, group;
    if (r.number<std::uint32_t>() != settlements.size()) return std::nullopt;
    for (const auto& settles : settlements) {
      roots.push_back(read_root(r, schemas, pool));
      roots.back()->track(settles);
    }
    for (auto left = r.number<std::uint32_t>(); left != 0; --left) group.push_back(read_batch(r, schemas, roots, pool));
    if (!r.at_end()) return std::nullopt;
    return group;
  } catch (const out_of_bytes&) {
    return std::nullopt;
  } catch (const std::bad_alloc&) {
    return std::nullopt;
  }
}

}  // namespace pl::engine
