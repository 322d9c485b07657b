// SPDX-License-Identifier: Apache-2.0
#include "requester.hpp"

#include <pipeline/tls.hpp>

#include <zlib.h>

#include <array>
#include <mutex>
#include <new>

namespace http_sink {

namespace {

constexpr std::size_t longest_response = 4096;  // bytes of a response's body that are kept

std::size_t take_body(char* bytes, std::size_t size, std::size_t n, void* to) {
  auto& text = static_cast<reply*>(to)->text;
  text.append(bytes, std::min(size * n, longest_response - std::min(text.size(), longest_response)));
  return size * n;
}

using header_list = std::unique_ptr<curl_slist, pl::freed_by<curl_slist_free_all>>;

void append(header_list& to, const std::string& line) {
  auto* longer = curl_slist_append(to.get(), line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  (void)to.release();
  to.reset(longer);
}

long milliseconds(std::chrono::nanoseconds d) {
  return static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

// Return the option that causes the error; empty if the error may be temporary.
std::string option_at_fault(CURLcode code) {
  if (code == CURLE_SSL_CACERT_BADFILE) return "tls.ca";
  if (code == CURLE_SSL_CERTPROBLEM) return "tls.cert";
  return {};
}

}  // namespace

requester::requester(const options& o, const target& to) : options_(o), target_(to) {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

requester::handle requester::make() const {
  handle h(curl_easy_init());
  if (!h) throw std::bad_alloc();
  auto* c = h.get();
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, milliseconds(options_.timeout));
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(options_.connect_timeout));
  curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(c, CURLOPT_USERAGENT, "pipeline-host");
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
  if (!options_.token.empty()) {
    curl_easy_setopt(c, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
    curl_easy_setopt(c, CURLOPT_XOAUTH2_BEARER, options_.token.c_str());
  } else if (!target_.user.empty()) {
    curl_easy_setopt(c, CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));
    curl_easy_setopt(c, CURLOPT_USERNAME, target_.user.c_str());
    curl_easy_setopt(c, CURLOPT_PASSWORD, target_.password.c_str());
  }
  // An https:// URL needs no option `tls`. A libcurl without OpenSSL has no such list, and returns an error here.
  curl_easy_setopt(c, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  curl_easy_setopt(c, CURLOPT_SSL_CIPHER_LIST, pl::tls_1_2_ciphers);
  if (const auto& tls = options_.tls) {
    if (!tls->ca.empty()) {
      curl_easy_setopt(c, CURLOPT_CAINFO, tls->ca.c_str());
      curl_easy_setopt(c, CURLOPT_CAPATH, nullptr);  // do not trust the system's authorities in addition
#if LIBCURL_VERSION_NUM >= 0x075700
      curl_easy_setopt(c, CURLOPT_CA_CACHE_TIMEOUT, 0L);  // a renewed file is used for the next connection
#endif
    }
    if (!tls->cert.empty()) {
      curl_easy_setopt(c, CURLOPT_SSLCERT, tls->cert.c_str());
      curl_easy_setopt(c, CURLOPT_SSLKEY, (tls->key.empty() ? tls->cert : tls->key).c_str());
      if (!tls->key_password.empty()) curl_easy_setopt(c, CURLOPT_KEYPASSWD, tls->key_password.c_str());
    }
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, tls->verify ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, tls->verify ? 2L : 0L);
  }
  return h;
}

reply requester::perform(CURL* with, reply& into) const {
  std::array<char, CURL_ERROR_SIZE> error{};
  curl_easy_setopt(with, CURLOPT_ERRORBUFFER, error.data());
  curl_easy_setopt(with, CURLOPT_WRITEDATA, &into);
  const auto began = std::chrono::steady_clock::now();
  const auto code = curl_easy_perform(with);
  into.took = std::chrono::steady_clock::now() - began;
  curl_easy_setopt(with, CURLOPT_ERRORBUFFER, nullptr);
  curl_easy_getinfo(with, CURLINFO_NUM_CONNECTS, &into.connects);
  if (code != CURLE_OK) {
    into.text = error[0] != '\0' ? error.data() : curl_easy_strerror(code);
    into.option = option_at_fault(code);
    into.is_setting = !into.option.empty();
    return std::move(into);
  }
  long status = 0;
  curl_off_t wait = 0;
  const char* location = nullptr;
  curl_easy_getinfo(with, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(with, CURLINFO_RETRY_AFTER, &wait);
  curl_easy_getinfo(with, CURLINFO_REDIRECT_URL, &location);
  into.status = static_cast<int>(status);
  into.retry_after = std::chrono::seconds(wait);
  if (location != nullptr) into.location = location;
  return std::move(into);
}

reply requester::connect(const std::string& url) {
  const auto probe = make();
  curl_easy_setopt(probe.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(probe.get(), CURLOPT_CONNECT_ONLY, 1L);
  reply r;
  return perform(probe.get(), r);
}

reply requester::send(const request& r) {
  if (!kept_) kept_ = make();
  auto* c = kept_.get();
  header_list headers;
  append(headers, "Expect:");  // servers without support for Expect would cost a second per request
  append(headers, "Accept:");
  for (const auto& line : r.headers) append(headers, line);
  curl_easy_setopt(c, CURLOPT_URL, r.url.c_str());
  curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, r.method);
  curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(r.body.size()));
  curl_easy_setopt(c, CURLOPT_POSTFIELDS, r.body.empty() ? "" : r.body.data());
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers.get());
  reply into;
  auto response = perform(c, into);
  curl_easy_setopt(c, CURLOPT_HTTPHEADER, nullptr);
  return response;
}

std::string gzipped(std::string_view plain) {
  constexpr int gzip_alone = 16, memory = 8;
  z_stream s{};
  if (deflateInit2(&s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + gzip_alone, memory, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::bad_alloc();
  std::string out(deflateBound(&s, static_cast<uLong>(plain.size())), '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  s.avail_in = static_cast<uInt>(plain.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  deflateEnd(&s);
  if (code != Z_STREAM_END) throw std::bad_alloc();
  return out;
}

}  // namespace http_sink
