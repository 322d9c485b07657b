// SPDX-License-Identifier: Apache-2.0
// Base classes for components. Derive from source, transform or sink, and define in the class
//
//   struct options { ...; static pl::option_table<options> table(); };      see options.hpp
//   static pl::description describe();                                       name, doc, example, ports, abilities
//   my_sink(options, pl::context);                                           checks options; opens nothing
//
// and export it with PL_EXPORT (plugin.hpp). The host calls one instance from one thread at a time. Exceptions are
// caught at the boundary and become a fatal status with their what().
#pragma once

#include <pipeline/abi.h>
#include <pipeline/batch.hpp>
#include <pipeline/context.hpp>
#include <pipeline/options.hpp>
#include <pipeline/result.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace pl {

// Thrown by a constructor whose options conflict: without arguments after context::option_error, or with one message.
class invalid_options : public std::exception {
 public:
  invalid_options() = default;  // context::option_error has reported every message
  invalid_options(std::string option, std::string message) : option_(std::move(option)), message_(std::move(message)) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }
  [[nodiscard]] const std::string& option() const noexcept { return option_; }

 private:
  std::string option_, message_;
};

// The properties of a component. Strings must be literals.
struct description {
  std::string_view name;                          // snake_case, as in `plugin:`
  std::string_view doc;                           // first line: a summary
  std::string_view example;                       // YAML of one node
  std::vector<std::string_view> ports = {"out"};  // of sources and transforms
  std::uint32_t abilities = 0;                    // PL_REPLAYABLE | PL_TRANSACTIONAL | ...
  std::string_view dead_letters = {};             // sinks: pl_component.dead_letters in abi.h
};

// A schema and the kinds of its columns: pl_columns in abi.h.
struct column_set {
  const pl_schema* schema = nullptr;      // null: not known before records arrive
  std::vector<std::uint32_t> kinds = {};  // PL_TEXT, ... of each column; PL_NULL: unknown or mixed. Empty: all unknown
  [[nodiscard]] std::uint32_t kind(column_index c) const noexcept {
    return c < kinds.size() ? kinds[c] : std::uint32_t{PL_NULL};
  }
  // Return the kind of a named column; PL_NULL if it is unknown or there is no such column.
  [[nodiscard]] std::uint32_t kind_of(std::string_view name) const noexcept {
    const auto c = schema != nullptr ? find_column(*schema, name) : std::nullopt;
    return c ? kind(*c) : std::uint32_t{PL_NULL};
  }
  // Copy what crosses the boundary. Kinds that this build does not know are unknown.
  [[nodiscard]] static column_set of(const pl_columns& raw) {
    column_set columns{raw.schema};
    if (raw.schema == nullptr || raw.kinds == nullptr) return columns;
    for (column_index c = 0; c < raw.schema->ncols; ++c)
      columns.kinds.push_back(raw.kinds[c] <= PL_JSON ? raw.kinds[c] : std::uint32_t{PL_NULL});
    return columns;
  }
  // Valid as long as this object is not changed.
  [[nodiscard]] pl_columns raw() const noexcept {
    const bool known = schema != nullptr && kinds.size() == schema->ncols;
    return {schema, known ? kinds.data() : nullptr};
  }
};

// Return why a component can never use the values of a column: their kind is not one of `usable`. Return nothing if the
// kind is unknown, or if there is no such column.
[[nodiscard]] inline std::optional<failure> wrong_kind(const column_set& in, std::string option,
                                                       std::string_view column,
                                                       std::initializer_list<std::uint32_t> usable) {
  const auto kind = in.kind_of(column);
  if (kind == PL_NULL || std::ranges::find(usable, kind) != usable.end()) return std::nullopt;
  auto why =
      "the column '" + std::string(column) + "' has the kind " + std::string(kind_name(kind)) + "; this option needs ";
  for (const auto* k = usable.begin(); k != usable.end(); ++k)
    why.append(k == usable.begin() ? "" : " or ").append(kind_name(*k));
  return bad_option(std::move(option), std::move(why));
}

// A component that can state before records arrive which columns come in and go out, so that `validate` finds misspelt
// columns and kinds that do not fit: "columns/1" in abi.h.
class columns_aware {
 public:
  virtual ~columns_aware() = default;
  // Return the schema emitted on `port` for input `in` (null if unknown); null: not known beforehand. Sinks return
  // null. If a needed column is missing: bad_option("columns.temp", "the input has no column 'temp'; ...").
  virtual result<const pl_schema*> columns(const pl_schema* in, std::uint32_t port) = 0;
  // Override this to return kinds as well, or to check those of the input. By default they are unknown, unless the schema
  // goes out as it came in: then the kinds do, too. A sink that creates a table derives the types from the kinds.
  virtual result<column_set> typed_columns(const column_set& in, std::uint32_t port) {
    const auto out = columns(in.schema, port);
    if (!out.ok()) return out.why();
    return *out == in.schema ? in : column_set{*out};
  }
};

// A sink that keeps positions and state in its own transactions: "position_store/1" in abi.h, which specifies what
// `write` of such a sink must do. These functions are called on a separate instance, which is never started and
// connects on first use.
class position_store {
 public:
  virtual ~position_store() = default;
  virtual result<pl_position> position(std::string_view source, std::string_view stream) = 0;
  // True: claimed, and the state watermark applied in the same transaction. False: the position is no longer `seen`.
  virtual result<bool> claim(std::string_view source, std::string_view stream, pl_position seen, pl_position wanted,
                             const pl_state_watermark& watermark) = 0;
  using entry = std::function<void(std::string_view node, std::string_view key, std::string_view value)>;
  virtual result<void> load(std::string_view source, std::string_view stream, const entry& each) = 0;
  // Report each stream of the source that has a position or state here.
  using stream_entry = std::function<void(std::string_view stream)>;
  virtual result<void> streams(std::string_view /*source*/, const stream_entry& /*each*/) {
    return fatal("this sink cannot list the streams whose positions it keeps");
  }
};

// A transform with state: "state/1" in abi.h. It stores its changes with context::put.
class stateful {
 public:
  virtual ~stateful() = default;
  virtual result<void> restore(std::string_view stream, std::string_view key, std::string_view value) = 0;
  // Called after the last entry. offset_reset: an operator moved the offset; treat every record that follows as new.
  virtual result<void> restored(std::string_view /*stream*/, bool /*offset_reset*/) { return {}; }
  // Called before `restored` if everything is delivered that was stored with context::put_until_delivered.
  virtual void restored_delivered(std::string_view /*stream*/) {}
  virtual result<void> snapshot(std::string_view stream) = 0;
};

// A transform that can list its open alerts: "alerts/1" in abi.h, which names the members of the JSON object.
class alerting {
 public:
  virtual ~alerting() = default;
  using alert_entry = std::function<void(std::string_view json)>;
  virtual result<void> open_alerts(const alert_entry& each) = 0;
};

// A source whose earlier records can be read again while the pipeline runs: "replay/1" in abi.h. These functions are
// called on an instance that is not started and connects on first use.
class replayable {
 public:
  virtual ~replayable() = default;
  // A window of a stream: [first, next) of the records that exist, [oldest, newest).
  struct window {
    std::string stream;
    std::uint64_t first, next, oldest, newest;
  };
  virtual result<std::vector<window>> windows(pl_bound from, pl_bound until) = 0;
  // Called before `start`, which then opens only these windows; poll returns end_of_stream() at their end. Commit
  // nothing.
  virtual result<void> select(std::vector<window> windows) = 0;
  // Reset the group's offsets to `first`. Fails while the group has members.
  virtual result<void> reset_offsets(const std::vector<window>& windows) = 0;
};

// A sink that can check whether, with its configuration, records that are written again exist once: "rewrite/1" in
// abi.h.
class rewritable {
 public:
  virtual ~rewritable() = default;
  // Return ok if such records exist once, else bad_option("conflict", "..."). The message states how to achieve that.
  virtual result<void> may_rewrite() = 0;
};

// A transform whose output ports depend on its options (a router): "ports/1" in abi.h. It replaces description::ports.
class option_ports {
 public:
  virtual ~option_ports() = default;
  // Return the names of the output ports, in the order of the indexes that emitter::emit takes. Always the same list.
  [[nodiscard]] virtual std::vector<std::string> ports() const = 0;
};

// The columns of its input that a transform uses itself. passes_on: rows are emitted with the columns that they came with,
// so those that the readers of the output use are used, too. everything: also columns that are not listed.
struct column_use {
  std::vector<std::string> columns = {};
  bool passes_on = false, everything = false;
};

// A transform that does not use all columns of its input, so that a source need not make the others: "demand/1" in abi.h.
class column_user {
 public:
  virtual ~column_user() = default;
  [[nodiscard]] virtual column_use used_columns() const = 0;
};

// A component that uses something of which only one instance may make use at a time: "exclusive/1" in abi.h.
class exclusive_user {
 public:
  virtual ~exclusive_user() = default;
  struct resource {
    std::string kind, name;  // "MQTT client id", "'x' at broker:1883"
    std::string option;      // that sets it; may be empty
  };
  [[nodiscard]] virtual std::vector<resource> exclusive() const = 0;
};

class component {
 public:
  virtual ~component() = default;
  component() = default;
  component(const component&) = delete;
  component& operator=(const component&) = delete;

  virtual result<void> check() { return {}; }  // verify servers and columns; change nothing
  virtual result<void> start() { return {}; }  // connect; after retry(...) the host calls again later
  virtual result<void> stop() { return {}; }   // flush and disconnect
};

struct poll_request {
  std::uint32_t max_rows;            // 0: there is no room; only keep connections alive
  std::size_t max_bytes;             // approximate limit on the payload
  std::chrono::nanoseconds timeout;  // maximum wait for the first row
};

class source : public component {
 public:
  // Return a batch, or nothing_yet(), end_of_stream(), retry(...) or fatal(...).
  virtual result<batch> poll(const poll_request& request) = 0;
  // Called when every record below `next` of each range's stream is settled.
  virtual void settle(std::span<const pl_range> /*ranges*/) {}
};

// Takes the output of a transform. Valid until the call that passed it returns.
class emitter {
 public:
  emitter(const pl_host* host, void* to, pl_emit function) noexcept : host_(host), to_(to), emit_(function) {}
  void emit(batch b, std::uint32_t port = 0) { emit_(to_, port, b.release()); }
  void emit(batch_builder&& b, std::uint32_t port = 0) { emit(std::move(b).finish(), port); }
  // Emit a borrowed batch unchanged.
  void pass(batch_view borrowed, std::uint32_t port = 0) { emit(batch::retained(host_, borrowed), port); }

 private:
  const pl_host* host_;
  void* to_;
  pl_emit emit_;
};

class transform : public component {
 public:
  virtual result<void> apply(batch_view in, emitter& out) = 0;
  virtual result<void> tick(timestamp /*now*/, emitter& /*out*/) { return {}; }  // about every 100 ms, wall clock
  virtual void revoked(std::string_view /*stream*/) {}  // the stream left this lane: discard its state
};

// The batches of one write, for `for (pl::batch_view b : batches)`.
class batch_list {
 public:
  class iterator {
   public:
    explicit iterator(pl_batch* const* at) noexcept : at_(at) {}
    batch_view operator*() const noexcept { return batch_view{*at_}; }
    iterator& operator++() noexcept { return ++at_, *this; }
    bool operator==(const iterator&) const = default;

   private:
    pl_batch* const* at_;
  };
  batch_list(pl_batch* const* batches, std::uint32_t n) noexcept : batches_(batches), n_(n) {}
  [[nodiscard]] iterator begin() const noexcept { return iterator{batches_}; }
  [[nodiscard]] iterator end() const noexcept { return iterator{batches_ + n_}; }
  [[nodiscard]] std::uint32_t size() const noexcept { return n_; }
  [[nodiscard]] batch_view operator[](std::uint32_t i) const noexcept { return batch_view{batches_[i]}; }
  [[nodiscard]] std::uint32_t rows() const noexcept {  // selected, over all batches
    std::uint32_t n = 0;
    for (auto b : *this) n += b.selected();
    return n;
  }

 private:
  pl_batch* const* batches_;
  std::uint32_t n_;
};

class sink : public component {
 public:
  // Write all of the batches or nothing. After retry(...) the host calls again with the same batches, after a back-off.
  // After rejected(...) it bisects the batches to find the bad rows. If you can identify a bad row, call
  // context::reject instead and write the other rows.
  virtual result<void> write(const batch_list& batches) = 0;
};

}  // namespace pl
