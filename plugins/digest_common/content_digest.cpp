// SPDX-License-Identifier: Apache-2.0
#include "content_digest.hpp"

#include <pipeline/freed_by.hpp>

#include <openssl/evp.h>

#include <cstring>
#include <memory>
#include <new>

namespace digest {

namespace {

// OpenSSL 3 looks the algorithm up by name at each use of EVP_sha256(), which takes longer than to hash a message.
const EVP_MD* sha256() {
  static const std::unique_ptr<EVP_MD, pl::freed_by<EVP_MD_free>> found(EVP_MD_fetch(nullptr, "SHA256", nullptr));
  if (!found) throw std::bad_alloc();
  return found.get();
}

EVP_MD_CTX* context() {
  static thread_local const std::unique_ptr<EVP_MD_CTX, pl::freed_by<EVP_MD_CTX_free>> own(EVP_MD_CTX_new());
  if (!own) throw std::bad_alloc();
  return own.get();
}

}  // namespace

content_digest::content_digest() { EVP_DigestInit_ex(context(), sha256(), nullptr); }

void content_digest::add(std::string_view part) { EVP_DigestUpdate(context(), part.data(), part.size()); }

content_digest::bytes content_digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> whole{};
  EVP_DigestFinal_ex(context(), whole.data(), nullptr);
  bytes first;
  std::memcpy(first.data(), whole.data(), first.size());
  return first;
}

}  // namespace digest
