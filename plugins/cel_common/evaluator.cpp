// SPDX-License-Identifier: Apache-2.0
#include "cel_common/interpreter.hpp"
#include "cel_common/output.hpp"
#include "cel_common/program.hpp"
#include "cel_common/vector_machine.hpp"
#include "cel_common/zones.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

namespace pl::cel {

namespace {

// Split rows into chunks: take(chunk). indexes: null for the rows 0 to count - 1.
template <class Take>
void each_chunk(const row_index* indexes, std::uint32_t count, Take&& take) {
  for (std::uint32_t at = 0; at < count; at += lane_count)
    take(row_chunk{indexes == nullptr ? nullptr : indexes + at, at, std::min(lane_count, count - at)});
}

}  // namespace

// Everything that one evaluator uses again for each row.
struct evaluator::state {
  explicit state(program p)
      : code(std::move(p)),
        rows(code.compiled()),
        budget(memory),
        scalar(budget, &rows, code.compiled().locals),
        vector_code(make_vector_plan(code.compiled())) {
    budget.patterns = &patterns;
    budget.zones = &zones;
    if (vector_code) machine.emplace(*vector_code, rows, budget, scalar);
  }
  state(const state&) = delete;
  state& operator=(const state&) = delete;

  value run(row_index row) {
    budget.restart();
    return scalar.run(*code.compiled().root, row);
  }

  // Append the rows of a chunk whose condition is true.
  void select(const row_chunk& chunk, std::vector<row_index>& matched, std::vector<row_index>* failed) {
    if (machine && vector_code->type == lane_type::boolean) return select_lanes(chunk, matched, failed);
    for (std::uint32_t i = 0; i < chunk.count; ++i) {
      const auto v = run(chunk[i]);
      if (v.is_true()) matched.push_back(chunk[i]);
      if (!v.is(value_kind::boolean)) fail(chunk[i], failed);
    }
  }
  void select_lanes(const row_chunk& chunk, std::vector<row_index>& matched, std::vector<row_index>* failed) {
    const auto& result = machine->run(chunk);
    const auto before = matched.size();
    matched.resize(before + chunk.count);
    auto* end = matched.data() + before;
    const auto* states = result.states();
    for (std::uint32_t i = 0; i < chunk.count; ++i) {
      *end = chunk[i];
      end += result.boolean[i] & static_cast<std::uint8_t>(states[i] == lane_ok);
    }
    each_not_ok(result, chunk.count, [&](std::uint32_t i, std::uint8_t) { fail(chunk[i], failed); });
    matched.resize(static_cast<std::size_t>(end - matched.data()));
  }

  // Compute the cells of a chunk.
  void fill(const row_chunk& chunk, batch_builder& owner, std::span<cell> to, std::vector<row_index>* failed) {
    if (machine) return fill_lanes(chunk, to, failed);
    for (std::uint32_t i = 0; i < chunk.count; ++i) {
      value why;
      to[chunk[i]] = to_cell(budget, run(chunk[i]), owner, why);
      if (why.is_error()) fail(chunk[i], failed);
    }
  }
  // Write every cell as if it were valid, and then correct the others, which are rare.
  void fill_lanes(const row_chunk& chunk, std::span<cell> to, std::vector<row_index>* failed) {
    const auto& result = machine->run(chunk);
    bool finite = true;
    switch (vector_code->type) {
      case lane_type::real: {
        double sum_of_zeros = 0;  // NaN if a number is not finite
        for (std::uint32_t i = 0; i < chunk.count; ++i) {
          to[chunk[i]] = real_cell(result.real[i]);
          sum_of_zeros += result.real[i] * 0.0;
        }
        finite = sum_of_zeros == 0;
        break;
      }
      case lane_type::integer:
        for (std::uint32_t i = 0; i < chunk.count; ++i) to[chunk[i]] = int_cell(result.integer[i]);
        break;
      case lane_type::boolean:
        for (std::uint32_t i = 0; i < chunk.count; ++i) to[chunk[i]] = bool_cell(result.boolean[i] != 0);
    }
    const auto correct = [&](std::uint32_t i, std::uint8_t lane) {
      to[chunk[i]] = null_cell();
      if (lane != lane_null) fail(chunk[i], failed);
    };
    if (finite) return each_not_ok(result, chunk.count, correct);
    for (std::uint32_t i = 0; i < chunk.count; ++i)
      if (result.state_of(i) != lane_ok || !std::isfinite(result.real[i]))
        correct(i, result.state_of(i) == lane_ok ? std::uint8_t{lane_failed} : result.state_of(i));
  }

  void fail(row_index row, std::vector<row_index>* failed) {
    ++failures;
    if (failed != nullptr) failed->push_back(row);
  }

  program code;
  arena memory;
  pattern_cache patterns;
  zone_cache zones;
  bound_rows rows;
  evaluation budget;
  interpreter scalar;
  std::optional<vector_plan> vector_code;
  std::optional<vector_machine> machine;
  std::size_t failures = 0;  // of the current call
};

namespace {

// Return a place in an expression for messages.
std::string place_of(std::string_view text, std::size_t offset) {
  const auto before = text.substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const auto column = before.size() - (before.find_last_of('\n') + 1) + 1;  // npos + 1 is 0
  const auto at = "column " + std::to_string(column);
  return text.find('\n') == std::string_view::npos ? at : "line " + std::to_string(line) + ", " + at;
}

}  // namespace

evaluator::evaluator(program p) : state_(std::make_unique<state>(std::move(p))) {}
evaluator::evaluator(evaluator&&) noexcept = default;
evaluator& evaluator::operator=(evaluator&&) noexcept = default;
evaluator::~evaluator() = default;

const program& evaluator::compiled() const noexcept { return state_->code; }

std::size_t evaluator::select(batch_view in, std::vector<row_index>& matched, std::vector<row_index>* failed) {
  state_->rows.bind(in);
  state_->failures = 0;
  each_chunk(in.raw()->sel, in.selected(), [&](const row_chunk& c) { state_->select(c, matched, failed); });
  return state_->failures;
}

std::size_t evaluator::select(batch_view in, std::span<const row_index> rows, std::vector<row_index>& matched,
                              std::vector<row_index>* failed) {
  state_->rows.bind(in);
  state_->failures = 0;
  each_chunk(rows.data(), static_cast<std::uint32_t>(rows.size()),
             [&](const row_chunk& c) { state_->select(c, matched, failed); });
  return state_->failures;
}

bool evaluator::matches(batch_view in, row_index row, bool* failed) {
  state_->rows.bind(in);
  const auto v = state_->run(row);
  if (failed != nullptr) *failed = !v.is(value_kind::boolean);
  return v.is_true();
}

std::size_t evaluator::fill(batch_view in, batch_builder& owner, std::span<cell> to, std::vector<row_index>* failed) {
  state_->rows.bind(in);
  state_->failures = 0;
  each_chunk(in.raw()->sel, in.selected(), [&](const row_chunk& c) { state_->fill(c, owner, to, failed); });
  return state_->failures;
}

std::string evaluator::explain(batch_view in, row_index row) {
  state_->rows.bind(in);
  const auto v = state_->run(row);
  const auto& p = state_->code.compiled();
  if (!v.is_error()) return {};
  return std::string(v.error->text) + ", at " + place_of(p.text, v.error->offset);
}

result<std::string> evaluator::print(batch_view in, row_index row, notation how) {
  state_->rows.bind(in);
  const auto v = state_->run(row);
  if (v.is_error()) return fatal(explain(in, row));
  std::string out;
  const bool done = how == notation::json ? append_json_value(state_->budget, out, v, byte_style::latin1)
                                          : append_text_value(state_->budget, out, v);
  if (!done) return fatal("the result is too large to be printed");
  return out;
}

}  // namespace pl::cel
