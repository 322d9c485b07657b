// SPDX-License-Identifier: Apache-2.0
// Clients that try to exhaust memory, disk or connections, beside a client that behaves well.
#include "running.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <thread>

namespace fs = std::filesystem;
using namespace http::testing;

namespace {

using clock = std::chrono::steady_clock;

constexpr const char* open_head = "POST /t HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
constexpr std::size_t mib = std::size_t{1} << 20U;
constexpr auto soon = 25s;  // less than the timeout of a request, 30 s

std::size_t peak_memory() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return static_cast<std::size_t>(used.ru_maxrss) * 1024;
}

// A file may be replaced or removed meanwhile: the spool stores its positions twice a second.
std::size_t disk_of(const std::string& folder) {
  std::size_t bytes = 0;
  std::error_code gone;
  for (const auto& e : fs::recursive_directory_iterator(folder))
    if (const auto size = fs::file_size(e.path(), gone); !gone) bytes += size;
  return bytes;
}

// A request of a few kilobytes with 10,000 records, each of which gets the path.
std::string bomb(std::size_t path_bytes, std::size_t record_bytes = 1) {
  std::string lines, path = "/u";
  for (int i = 0; i < 10'000; ++i) lines += std::string(record_bytes, '1') + "\n";
  while (path.size() < path_bytes) path += "/" + std::string(std::min<std::size_t>(200, path_bytes - path.size()), 'p');
  return post(gzipped(lines), "Content-Type: application/x-ndjson\r\nContent-Encoding: gzip\r\n", path);
}

config_fields any_path(std::size_t segments) {
  std::string path = "/u";
  for (std::size_t i = 0; i < segments; ++i) path += "/{s" + std::to_string(i) + "}";
  return {{"path", path}};
}

// A certificate and its key in one file, for this test.
std::string certificate(const std::string& file) {
  const std::unique_ptr<EVP_PKEY, pl::freed_by<EVP_PKEY_free>> key(EVP_EC_gen("P-256"));
  const std::unique_ptr<X509, pl::freed_by<X509_free>> cert(X509_new());
  REQUIRE(key);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 3600);
  X509_set_pubkey(cert.get(), key.get());
  auto* name = X509_get_subject_name(cert.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("test"), -1, -1, 0);
  X509_set_issuer_name(cert.get(), name);
  REQUIRE(X509_sign(cert.get(), key.get(), EVP_sha256()) != 0);
  const std::unique_ptr<std::FILE, pl::freed_by<std::fclose>> out(std::fopen(file.c_str(), "w"));
  REQUIRE(out);
  PEM_write_PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  PEM_write_X509(out.get(), cert.get());
  return file;
}

// Send a request over TLS and return the first bytes of the response; empty if the handshake failed.
std::string ask_tls(std::uint16_t port, std::string_view request, const char* ciphers_of_1_2 = nullptr) {
  client socket(port);
  const std::unique_ptr<SSL_CTX, pl::freed_by<SSL_CTX_free>> ctx(SSL_CTX_new(TLS_client_method()));
  if (ciphers_of_1_2 != nullptr) {
    SSL_CTX_set_max_proto_version(ctx.get(), TLS1_2_VERSION);
    REQUIRE(SSL_CTX_set_cipher_list(ctx.get(), ciphers_of_1_2) == 1);
  }
  const std::unique_ptr<SSL, pl::freed_by<SSL_free>> tls(SSL_new(ctx.get()));
  SSL_set_fd(tls.get(), socket.fd());
  if (SSL_connect(tls.get()) != 1) return {};
  SSL_write(tls.get(), request.data(), static_cast<int>(request.size()));
  std::array<char, 64> answer{};
  const int n = SSL_read(tls.get(), answer.data(), answer.size());
  return n > 0 ? std::string(answer.data(), static_cast<std::size_t>(n)) : std::string();
}

}  // namespace

TEST_CASE("a small gzip request with a path that 10,000 records would get is refused before anything is built") {
  running s(any_path(70));
  const auto request = bomb(13'500);
  CHECK(request.size() < 16'000);
  const auto before = peak_memory();
  CHECK(s.ask(request).status == 414);
  CHECK(s.ask(post("1", "", "/u/" + std::string(300, 'x'))).status == 404);
  CHECK(peak_memory() - before < 64 * mib);  // 10,000 times 13.5 KB are 135 MB
  CHECK(disk_of(s.state) < mib);

  running t(any_path(9));
  CHECK(t.ask(bomb(1'800)).status == 413);  // 10,000 times 1,800 bytes are more than max_body, 8 MiB
  CHECK(disk_of(t.state) < mib);            // 18 MB
  CHECK(t.ask(post("1", "", "/u/1/2/3/4/5/6/7/8/9")).status == 200);
  CHECK(t.rows().size() == 1);
}

TEST_CASE("the path of a small gzip request with 10,000 records is not stored with each of them") {
  running s(any_path(4));
  const auto before = disk_of(s.state);
  CHECK(s.ask(bomb(750)).status == 200);
  const auto stored = disk_of(s.state) - before;
  CHECK(stored < 350'000);  // 341,528; if each record had the path, 7,970,016
  const auto rows = s.rows();
  CHECK(rows.size() == 10'000);
  for (const std::size_t i : {0U, 1U, 5'000U, 9'998U, 9'999U}) CHECK(rows[i].at("topic").size() == 751);
}

TEST_CASE("a segment of the path, or a header, has a maximum length") {
  running s(config_fields{{"path", "/{device}"}, {"headers", pl::testing::object({{"tenant", "X-Tenant"}})}});
  CHECK(s.ask(post("1", "", "/" + std::string(257, 'x'))).status == 414);
  CHECK(s.ask(post("1", "X-Tenant: " + std::string(1025, 'x') + "\r\n", "/a")).status == 431);
  CHECK(s.ask(post("1", "X-Tenant: " + std::string(1024, 'x') + "\r\n", "/" + std::string(256, 'x'))).status == 200);
  CHECK(s.rows().size() == 1);
}

TEST_CASE("48 small requests in parallel whose records need 8 MB each stay below memory_limit and spool.max_bytes") {
  auto options = any_path(1);
  options.emplace_back("spool", pl::testing::object({{"max_bytes", pl::byte_size{16 * mib}}}));
  running s(options);
  const auto request = bomb(100, 760);  // 7.9 MB in the spool
  CHECK(request.size() < 30'000);
  const auto before = peak_memory();
  std::atomic<int> taken{0}, later{0}, other{0};
  {
    std::vector<std::jthread> all;
    for (int i = 0; i < 48; ++i)
      all.emplace_back([&] {
        const auto status = s.ask(request).status;
        ++(status == 200 ? taken : status == 429 || status == 503 ? later : other);
      });
  }
  CHECK(taken >= 1);
  CHECK(taken <= 2);
  CHECK(taken + later == 48);
  CHECK(other == 0);
  CHECK(disk_of(s.state) <= 16 * mib + 4096);  // with the files of positions
  // The node's share is 64 MiB. The spool keeps what is not synced, at most 16 MiB, in two texts that grow by doubling.
  // What malloc keeps for its threads differs between machines. Without limits, 48 bodies of 7.6 MB and the records made
  // of them need at least 730 MB.
  CHECK(peak_memory() - before < 400 * mib);
  // Small requests of another client still fit.
  CHECK(s.ask(post("1", "", "/u/1")).status == 200);
  // After the sinks have settled the records, a request that found no room is accepted.
  const auto rows = s.rows().size();
  CHECK(rows == static_cast<std::size_t>(taken) * 10'000 + 1);
  s.source->settle(s.host.assigned_streams().front(), 0, rows);
  // While a sync is in progress, the last file is deleted a little later, by a poll.
  int status = 0;
  for (const auto end = clock::now() + 2min; status != 200 && clock::now() < end; status = s.ask(request).status)
    CHECK(s.rows().empty());
  CHECK(status == 200);
  CHECK(disk_of(s.state) <= 16 * mib + 4096);
}

TEST_CASE("a request that can never fit into the spool is refused permanently") {
  running s(config_fields{{"spool", pl::testing::object({{"max_bytes", pl::byte_size{mib}}})}});
  CHECK(s.ask(post("\"" + std::string(mib, 'x') + "\"")).status == 413);
  CHECK(s.ask(post("1")).status == 200);
}

TEST_CASE("TLS connections that send nothing do not keep others out") {
  const pl::testing::temp_dir keys;
  const auto pem = certificate(keys / "server.pem");
  running s(config_fields{{"max_connections", 4}, {"tls", pl::testing::object({{"cert", pem}})}});
  std::vector<std::unique_ptr<client>> silent;
  for (int i = 0; i < 40; ++i) silent.push_back(std::make_unique<client>(s.port));
  const auto begin = clock::now();
  CHECK(ask_tls(s.port, post("1")).starts_with("HTTP/1.1 200"));
  CHECK(clock::now() - begin < soon);  // if each had its time for a handshake, 5 s, this would take 50 s
  const auto closed = [&](const char* why) {
    return s.host.sum("http_source_closed_connections_total{reason=" + std::string(why) + "}");
  };
  CHECK(closed("evicted") >= 1);
  CHECK(closed("evicted") + closed("handshake_timeout") >= 36);
  // The rest are closed when their time for the handshake has passed.
  CHECK(silent.back()->ended());
  CHECK(clock::now() - begin < 2 * soon);
  CHECK(ask_tls(s.port, post("2")).starts_with("HTTP/1.1 200"));
  CHECK(s.values() == std::vector<std::string>{"1", "2"});
}

TEST_CASE("TLS 1.2 suites without forward secrecy or with CBC are refused") {
  const pl::testing::temp_dir keys;
  const auto pem = certificate(keys / "server.pem");
  running s(config_fields{{"tls", pl::testing::object({{"cert", pem}})}});
  for (const auto* refused : {"AES128-SHA:@SECLEVEL=0", "AES256-GCM-SHA384:@SECLEVEL=0",
                              "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0", "ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"})
    CHECK_MESSAGE(ask_tls(s.port, post("1"), refused).empty(), refused);
  for (const auto* accepted : {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"})
    CHECK_MESSAGE(ask_tls(s.port, post("1"), accepted).starts_with("HTTP/1.1 200"), accepted);
}

TEST_CASE("heads that never end do not keep others out") {
  running s(config_fields{{"max_connections", 4}});
  std::vector<std::unique_ptr<client>> slow;
  for (int i = 0; i < 40; ++i) slow.push_back(std::make_unique<client>(s.port)), slow.back()->send("P");
  const auto begin = clock::now();
  CHECK(s.ask(post("1")).status == 200);
  CHECK(clock::now() - begin < soon);
  CHECK(s.host.sum("http_source_closed_connections_total{reason=evicted}") >= 30);
}

TEST_CASE("an address has at most max_connections_per_address connections") {
  // A busy connection is replaced when it has sent nothing for two seconds: repeat what a loaded machine has delayed.
  for (int attempts = 1;; ++attempts) {
    REQUIRE(attempts <= 20);
    running s(config_fields{{"max_connections_per_address", 2}});
    client busy(s.port), idle(s.port);
    const auto begin = clock::now();
    CHECK(busy.ask(open_head).status == 100);
    CHECK(idle.ask(post("1")).status == 200);
    client third(s.port);  // replaces the idle one
    CHECK(third.ask(open_head).status == 100);
    CHECK(idle.ended());
    const auto status = client(s.port).ask(post("x")).status;
    if (clock::now() - begin >= 2s) continue;
    CHECK(status == 0);  // both are busy
    CHECK(s.host.sum("http_source_closed_connections_total{reason=address_limit}") == 1);
    CHECK(busy.ask("2").status == 200);
    CHECK(third.ask("3").status == 200);
    CHECK(s.values() == std::vector<std::string>{"1", "2", "3"});
    return;
  }
}
