// SPDX-License-Identifier: Apache-2.0
#include "telemetry/http_test_client.hpp"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace pl::telemetry::testing {
namespace {

struct free_handle {
  void operator()(CURL* handle) const noexcept { curl_easy_cleanup(handle); }
};
struct free_list {
  void operator()(curl_slist* list) const noexcept { curl_slist_free_all(list); }
};

std::size_t append(char* bytes, std::size_t, std::size_t size, void* to) {
  static_cast<std::string*>(to)->append(bytes, size);
  return size;
}

}  // namespace

std::string http_reply::header(std::string_view name) const {
  const std::string start = "\r\n" + std::string(name) + ": ";
  const std::size_t at = head.find(start);
  if (at == head.npos) return {};
  const std::size_t begin = at + start.size();
  return head.substr(begin, head.find("\r\n", begin) - begin);
}

std::optional<http_reply> fetch(const http_server& server, std::string_view path, const http_options& options) {
  const std::unique_ptr<CURL, free_handle> curl(curl_easy_init());
  std::unique_ptr<curl_slist, free_list> headers;
  for (const auto& one : options.headers) headers.reset(curl_slist_append(headers.release(), one.c_str()));
  const std::string url = "http://" + to_string(server.address()) + std::string(path);
  http_reply reply;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());
  if (!options.accept_encoding.empty()) {
    curl_easy_setopt(curl.get(), CURLOPT_ACCEPT_ENCODING, options.accept_encoding.c_str());
  }
  if (options.method == "HEAD") curl_easy_setopt(curl.get(), CURLOPT_NOBODY, 1L);
  if (options.method == "POST") curl_easy_setopt(curl.get(), CURLOPT_COPYPOSTFIELDS, options.body.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &reply.body);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERFUNCTION, append);
  curl_easy_setopt(curl.get(), CURLOPT_HEADERDATA, &reply.head);
  if (curl_easy_perform(curl.get()) != CURLE_OK) return std::nullopt;
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &reply.status);
  return reply;
}

raw_client::raw_client() : fd_(::socket(AF_INET, SOCK_STREAM, 0)) { REQUIRE(fd_ >= 0); }
raw_client::raw_client(const http_server& server) : raw_client() { connect(server); }
raw_client::~raw_client() { ::close(fd_); }

void raw_client::connect(const http_server& server) const {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server.address().port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
}

bool raw_client::send(std::string_view bytes) const {
  return ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
}

void raw_client::end_of_input() const { ::shutdown(fd_, SHUT_WR); }

std::string raw_client::receive(std::size_t at_most) const {
  std::string part(at_most, '\0');
  const ssize_t size = ::recv(fd_, part.data(), part.size(), 0);
  part.resize(static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  return part;
}

std::string raw_client::receive_all() const {
  std::string all;
  for (std::string part; !(part = receive(4096)).empty();) all += part;
  return all;
}

bool raw_client::closed_within(int milliseconds) const {
  pollfd one{fd_, POLLIN, 0};
  return ::poll(&one, 1, milliseconds) == 1 && receive(1).empty();
}

void raw_client::reset() const {
  const linger none{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

std::string reply_to(const http_server& server, std::string_view bytes) {
  const raw_client client(server);
  REQUIRE(client.send(bytes));
  return client.receive_all();
}

}  // namespace pl::telemetry::testing
