// SPDX-License-Identifier: Apache-2.0
#include "engine/shortened_letter.hpp"

#include <pipeline/json_members.hpp>
#include <pipeline/text.hpp>

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <charconv>

namespace pl::engine {

namespace {

constexpr std::string_view marker = "\"$shortened\"";  // persisted: never change it

std::optional<missing_part> parse_part(std::string_view name, std::string_view object) {
  missing_part part{json_text(name).value_or(std::string()), 0, {}};
  const bool whole = each_json_member(object, [&](std::string_view key, std::string_view value) {
    if (key == "\"bytes\"") std::from_chars(value.data(), value.data() + value.size(), part.bytes);
    if (key == "\"sha256\"") part.sha256 = json_text(value).value_or(std::string());
  });
  return whole && !part.name.empty() ? std::optional(std::move(part)) : std::nullopt;
}

}  // namespace

std::string sha256_of(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

missing_part missing(std::string_view name, std::string_view bytes) {
  return {std::string(name), bytes.size(), sha256_of(bytes)};
}

std::string shortened_record(const std::vector<missing_part>& parts) {
  std::string json = fmt::format("{{{}:{{", marker);
  for (std::size_t i = 0; i < parts.size(); ++i)
    json += fmt::format("{}\"{}\":{{\"bytes\":{},\"sha256\":\"{}\"}}", i == 0 ? "" : ",", parts[i].name, parts[i].bytes,
                        parts[i].sha256);
  return json + "}}";
}

std::optional<std::vector<missing_part>> parse_shortened(std::string_view record) {
  std::optional<std::vector<missing_part>> found;
  bool well = true;
  const bool whole = each_json_member(record, [&](std::string_view key, std::string_view value) {
    if (key != marker) return;
    found.emplace();
    well = each_json_member(value, [&](std::string_view name, std::string_view object) {
      if (auto part = parse_part(name, object)) found->push_back(*std::move(part));
    });
  });
  return whole && well ? found : std::nullopt;
}

}  // namespace pl::engine
