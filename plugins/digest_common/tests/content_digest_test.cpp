// SPDX-License-Identifier: Apache-2.0
#include <pipeline/text.hpp>

#include <digest_common/content_digest.hpp>
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>

namespace {

std::string hex_of(std::initializer_list<std::string_view> parts) {
  digest::content_digest hashing;
  for (const auto part : parts) hashing.add(part);
  const auto made = hashing.finish();
  return pl::to_hex({made.data(), made.size()});
}

}  // namespace

// The values are the examples of FIPS 180-4 for SHA-256, cut to 16 bytes.
TEST_CASE("the digest is the beginning of SHA-256 of all parts") {
  CHECK(hex_of({}) == "e3b0c44298fc1c149afbf4c8996fb924");
  CHECK(hex_of({"abc"}) == "ba7816bf8f01cfea414140de5dae2223");
  CHECK(hex_of({"a", "", "bc"}) == "ba7816bf8f01cfea414140de5dae2223");
  CHECK(hex_of({"abcdbcdecdefdefgefghfghighijhijk", "ijkljklmklmnlmnomnopnopq"}) == "248d6a61d20638b8e5c026930c3e6039");
}
