// SPDX-License-Identifier: Apache-2.0
// Compares JSON readers that could scan telemetry: the project's scanner, RapidJSON, and simdjson if the build finds it.
// Each reader checks a whole message and visits every key and value; the numbers stay exact where the reader allows it.
//
//   json_readers_bench [messages] [rounds]
//
// The readers alternate within each round. The time is CPU time of the thread.
#include "../json_scanner.hpp"

#include <rapidjson/reader.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#ifdef PIPELINE_HAS_SIMDJSON
#include <simdjson.h>
#endif

namespace {

struct workload {
  const char* name;
  std::vector<std::string> messages;
};

std::string number(std::size_t i, std::size_t divisor) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(i % (100 * divisor)) / static_cast<double>(divisor));
  return text;
}

std::string bridge(std::size_t i) {
  return R"({"user_id":"user-)" + std::to_string(i % 30) + R"(","device_id":"device-)" + std::to_string(i % 90) +
         R"(","timestamp":)" + std::to_string(1'763'000'000'000 + i) + R"(,"temperature":)" + number(i, 16) +
         R"(,"humidity":)" + number(i, 8) + "}";
}

// As the load tester writes them.
std::string load_test(std::size_t i) {
  return R"({"run":"abcdef","seq":)" + std::to_string(i) + R"(,"sent_us":)" +
         std::to_string(1'763'000'000'123'789 + i) + R"(,"user_id":"user-)" + std::to_string(i % 30) +
         R"(","device_id":"abcdef-)" + std::to_string(i % 90) + R"(","time":)" + std::to_string(1'763'000'000'000 + i) +
         R"(,"temperature":)" + number(i, 16) + R"(,"humidity":)" + number(i, 10) + R"(,"battery":)" + number(i, 10) +
         "}";
}

std::string with_columns(std::size_t i, std::size_t columns) {
  auto text = R"({"device_id":"device-)" + std::to_string(i % 90) + R"(","timestamp":"2026-11-29T18:41:03.)" +
              std::to_string(100 + i % 900) + R"(Z")";
  for (std::size_t c = 0; c < columns; ++c) text += R"(,"metric_)" + std::to_string(c) + R"(":)" + number(i + c, 100);
  return text + "}";
}

// Text that is not ASCII, escapes, white space and nested objects.
std::string mixed(std::size_t i) {
  return R"({ "deviceId": "device-)" + std::to_string(i % 90) + R"(", "ts": )" + std::to_string(1'763'000'000'000 + i) +
         R"(, "site": "K\u00f6ln \"Süd\"", "metrics": { "temperature": )" + number(i, 100) +
         R"(, "ok": true, "samples": [1, 2.5, 3e2, null] }, "note": "Prüfstand, Halle 7 – zweite Schicht" })";
}

// A reader returns a sum of what it saw, so that no work can be left out; 0: the message is invalid.
using reader = std::function<std::uint64_t(std::string_view)>;

template <bool Memory>
class own_scanner {
 public:
  own_scanner() {
    arena_.begin([this](std::size_t n) { return (block_ = std::make_unique<char[]>(n)).get(); });
  }
  std::uint64_t operator()(std::string_view message) {
    scanner_.begin(message);
    std::uint64_t sum = 1;
    return visit(sum) && scanner_.finish() ? sum : 0;
  }

 private:
  bool visit(std::uint64_t& sum) {
    if (scanner_.peek() == '{')
      return scanner_.object([&](const json::json_key& key) {
        sum += key.text.size();
        return visit(sum);
      });
    if (scanner_.peek() == '[') return scanner_.array([&](std::uint32_t) { return visit(sum); });
    json::json_value v;
    if (!scanner_.value(v)) return false;
    sum += v.kind == json::json_kind::number ? v.number.digits : v.raw.size();
    return true;
  }
  std::unique_ptr<char[]> block_;
  json::text_arena arena_;
  json::key_memory keys_;
  json::json_scanner scanner_{{400, UINT32_MAX, false}, arena_, Memory ? &keys_ : nullptr};
};

// Numbers as text: RapidJSON would round them.
class rapid {
 public:
  std::uint64_t operator()(std::string_view message) {
    struct handler : rapidjson::BaseReaderHandler<rapidjson::UTF8<>, handler> {
      std::uint64_t sum = 1;
      bool Key(const char*, rapidjson::SizeType n, bool) { return sum += n, true; }
      bool String(const char*, rapidjson::SizeType n, bool) { return sum += n, true; }
      bool RawNumber(const char* text, rapidjson::SizeType n, bool) {
        json::decimal d;
        const char* at = text;
        if (!json::scan_decimal(at, text + n, d)) return false;
        return sum += d.digits, true;
      }
    };
    handler h;
    rapidjson::MemoryStream stream(message.data(), message.size());
    const auto got =
        reader_.Parse<rapidjson::kParseValidateEncodingFlag | rapidjson::kParseNumbersAsStringsFlag>(stream, h);
    return got.IsError() ? 0 : h.sum;
  }

 private:
  rapidjson::Reader reader_;
};

#ifdef PIPELINE_HAS_SIMDJSON
enum class depth { index_only, walk };

// On Demand does not check what the caller does not read, so everything is read. Values are raw tokens, which keeps the
// numbers exact and the text original.
template <depth Depth, bool Copy>
class on_demand {
 public:
  std::uint64_t operator()(std::string_view message) {
    if constexpr (Copy) {
      if (buffer_.size() < message.size() + simdjson::SIMDJSON_PADDING)
        buffer_.resize(message.size() + simdjson::SIMDJSON_PADDING);
      std::memcpy(buffer_.data(), message.data(), message.size());
      message = {buffer_.data(), message.size()};
    }
    simdjson::ondemand::document document;
    const simdjson::padded_string_view view(message.data(), message.size(),
                                            message.size() + simdjson::SIMDJSON_PADDING);
    if (parser_.iterate(view).get(document) != simdjson::SUCCESS) return 0;
    if constexpr (Depth == depth::index_only) return message.size();
    std::uint64_t sum = 1;
    simdjson::ondemand::object all;
    return document.get_object().get(all) == simdjson::SUCCESS && members(all, sum) && at_end(document) ? sum : 0;
  }

 private:
  // 3.0.1 has no at_end.
  static bool at_end(simdjson::ondemand::document& document) {
    const char* place = nullptr;
    return document.current_location().get(place) == simdjson::OUT_OF_BOUNDS;
  }
  bool members(simdjson::ondemand::object object, std::uint64_t& sum) {
    for (auto field : object) {
      simdjson::ondemand::raw_json_string key;
      if (field.key().get(key) != simdjson::SUCCESS) return false;
      simdjson::ondemand::value value;
      if (field.value().get(value) != simdjson::SUCCESS) return false;
      // The key's length: a raw key ends at its unescaped quote.
      const auto* end = static_cast<const char*>(std::memchr(key.raw(), '"', 256));
      if (end == nullptr) return false;
      sum += static_cast<std::uint64_t>(end - key.raw());
      if (!visit(value, sum)) return false;
    }
    return true;
  }
  bool visit(simdjson::ondemand::value value, std::uint64_t& sum) {
    simdjson::ondemand::json_type type;
    if (value.type().get(type) != simdjson::SUCCESS) return false;
    switch (type) {
      case simdjson::ondemand::json_type::object: {
        simdjson::ondemand::object inner;
        return value.get_object().get(inner) == simdjson::SUCCESS && members(inner, sum);
      }
      case simdjson::ondemand::json_type::array: {
        simdjson::ondemand::array inner;
        if (value.get_array().get(inner) != simdjson::SUCCESS) return false;
        for (auto element : inner) {
          simdjson::ondemand::value one;
          if (element.get(one) != simdjson::SUCCESS || !visit(one, sum)) return false;
        }
        return true;
      }
      case simdjson::ondemand::json_type::number:
        return number_of(value, sum);
      case simdjson::ondemand::json_type::string:
        return string_of(value, sum);
      case simdjson::ondemand::json_type::boolean: {
        bool b = false;
        return value.get_bool().get(b) == simdjson::SUCCESS && (sum += b ? 4 : 5, true);
      }
      default:
        return value.is_null() && (sum += 4, true);
    }
  }
  static bool number_of(simdjson::ondemand::value& value, std::uint64_t& sum) {
    const std::string_view token = value.raw_json_token();
    json::decimal d;
    const char* at = token.data();
    const char* const end = at + token.size();
    if (!json::scan_decimal(at, end, d)) return false;
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) ++at;
    if (at != end) return false;
    return sum += d.digits, true;  // the iterator moves past a value that was not taken
  }
  static bool string_of(simdjson::ondemand::value& value, std::uint64_t& sum) {
    std::string_view token = value.raw_json_token();
    while (token.back() != '"') token.remove_suffix(1);
    sum += token.size();
    std::string_view text;
    return token.find('\\') == std::string_view::npos || value.get_string().get(text) == simdjson::SUCCESS;
  }
  simdjson::ondemand::parser parser_;
  std::vector<char> buffer_;
};

// The tree checks everything by itself, but rounds numbers and refuses 1e400.
class tree {
 public:
  std::uint64_t operator()(std::string_view message) {
    simdjson::dom::element root;
    if (parser_.parse(message.data(), message.size(), false).get(root) != simdjson::SUCCESS) return 0;
    std::uint64_t sum = 1;
    visit(root, sum);
    return sum;
  }

 private:
  void visit(simdjson::dom::element at, std::uint64_t& sum) {
    if (simdjson::dom::object members; at.get(members) == simdjson::SUCCESS) {
      for (const auto field : members) sum += field.key.size(), visit(field.value, sum);
    } else if (simdjson::dom::array elements; at.get(elements) == simdjson::SUCCESS) {
      for (const auto element : elements) visit(element, sum);
    } else if (std::string_view text; at.get(text) == simdjson::SUCCESS) {
      sum += text.size();
    } else if (double real = 0; at.get(real) == simdjson::SUCCESS) {
      sum += static_cast<std::uint64_t>(real);
    }
  }
  simdjson::dom::parser parser_;
};
#endif

double cpu_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

volatile std::uint64_t kept = 0;

double nanoseconds(const reader& read, const workload& work) {
  const auto began = cpu_seconds();
  std::uint64_t sum = 0;
  for (const auto& message : work.messages) {
    const auto one = read({message.data(), message.size()});
    if (one == 0) return std::fprintf(stderr, "a reader refuses %s\n", message.c_str()), 0;
    sum += one;
  }
  kept = kept + sum;
  return (cpu_seconds() - began) / static_cast<double>(work.messages.size()) * 1e9;
}

}  // namespace

int main(int argc, char** argv) {
  const std::size_t count = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 20'000;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 21;
  std::vector<workload> all{{"bridge", {}}, {"load test", {}}, {"10 columns", {}}, {"100 columns", {}}, {"mixed", {}}};
  for (std::size_t i = 0; i < count; ++i) {
    all[0].messages.push_back(bridge(i));
    all[1].messages.push_back(load_test(i));
    all[2].messages.push_back(with_columns(i, 10));
    if (i < count / 8) all[3].messages.push_back(with_columns(i, 100));
    all[4].messages.push_back(mixed(i));
  }
  for (auto& work : all)
    for (auto& message : work.messages) message.reserve(message.size() + 128);  // room that simdjson may read

  std::vector<std::pair<const char*, reader>> readers;
  const auto add = [&]<class R>(const char* name, std::shared_ptr<R> r) {
    readers.emplace_back(name, [r](std::string_view m) { return (*r)(m); });
  };
  add("own scanner", std::make_shared<own_scanner<true>>());
  add("own scanner, no key memory", std::make_shared<own_scanner<false>>());
  add("RapidJSON", std::make_shared<rapid>());
#ifdef PIPELINE_HAS_SIMDJSON
  add("simdjson, index alone", std::make_shared<on_demand<depth::index_only, false>>());
  add("simdjson, index of a copy", std::make_shared<on_demand<depth::index_only, true>>());
  add("simdjson On Demand", std::make_shared<on_demand<depth::walk, false>>());
  add("simdjson On Demand, copy", std::make_shared<on_demand<depth::walk, true>>());
  add("simdjson tree, copy", std::make_shared<tree>());
  std::printf("simdjson %d.%d.%d, index by %s, On Demand by %s\n", simdjson::SIMDJSON_VERSION_MAJOR,
              simdjson::SIMDJSON_VERSION_MINOR, simdjson::SIMDJSON_VERSION_REVISION,
              simdjson::get_active_implementation()->name().c_str(),
              simdjson::builtin_implementation()->name().c_str());
#endif
  for (const auto& work : all) {
    std::vector<std::vector<double>> times(readers.size());
    for (int round = 0; round < rounds; ++round)
      for (std::size_t r = 0; r < readers.size(); ++r) times[r].push_back(nanoseconds(readers[r].second, work));
    for (auto& t : times) std::sort(t.begin(), t.end());
    const auto own = times[0][times[0].size() / 2];
    std::printf("\n%s, %zu bytes\n", work.name, work.messages.back().size());
    for (std::size_t r = 0; r < readers.size(); ++r) {
      const auto median = times[r][times[r].size() / 2];
      std::printf("  %-28s %7.0f ns (best %7.0f)  %5.2f of the own scanner\n", readers[r].first, median,
                  times[r].front(), median / own);
    }
  }
  return 0;
}
