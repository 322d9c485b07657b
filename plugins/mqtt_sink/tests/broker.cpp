// SPDX-License-Identifier: Apache-2.0
#include "broker.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <stdexcept>

namespace mqtt::testing {
using namespace std::chrono_literals;

namespace {

sockaddr_in loopback(int port) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(static_cast<std::uint16_t>(port));
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

int port_of(int fd) {
  sockaddr_in a{};
  socklen_t size = sizeof a;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size);
  return ntohs(a.sin_port);
}

int listen_on_free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto a = loopback(0);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 || ::listen(fd, 16) != 0)
    throw std::runtime_error("no free port");
  return fd;
}

int port_of_closed_listener() {
  const int fd = listen_on_free_port();
  const int port = port_of(fd);
  ::close(fd);
  return port;
}

bool can_bind(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto a = loopback(port);
  const bool ok = ::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
  ::close(fd);
  return ok;
}

// Return a port outside of the range that the kernel uses for outgoing connections. In that range, a client that
// connects to a broker that is down can get the broker's port, and then the broker cannot bind it.
int free_port() {
  int first = 32'768, last = 60'999;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first >> last;
  constexpr int low = 10'240;
  if (first - low < 1000) return port_of_closed_listener();
  std::random_device random;
  std::uniform_int_distribution<int> any(low, first - 1);
  for (int i = 0; i < 1000; ++i)
    if (const int port = any(random); can_bind(port)) return port;
  throw std::runtime_error("no free port");
}

bool accepts_connections(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto a = loopback(port);
  const bool ok = ::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
  ::close(fd);
  return ok;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += by.size())
    text.replace(at, what.size(), by);
  return text;
}

// Keep one client for the duration of the tests: Paho stops its threads with the last client, which takes a second.
void keep_paho_awake() {
  static const struct anchor {
    MQTTAsync handle = nullptr;
    anchor() { MQTTAsync_create(&handle, "tcp://127.0.0.1:1", "anchor", MQTTCLIENT_PERSISTENCE_NONE, nullptr); }
    ~anchor() { MQTTAsync_destroy(&handle); }
  } held;
}

}  // namespace

// ----------------------------------------------------------------------------------------------------------- broker ---

broker::broker(const std::string& more, const std::string& listener) : port_(free_port()) {
  keep_paho_awake();
  auto config = (listener.empty() ? "listener {port} 127.0.0.1\n" : listener + "\n") + more +
                "\nuser root\npersistence true\npersistence_location {dir}/\nmax_queued_messages 1000000\nlog_dest "
                "file {dir}/log\n";
  config = replaced(replaced(config, "{port}", std::to_string(port_)), "{dir}", dir_.path().string());
  pl::testing::write_file(dir_ / "mosquitto.conf", config);
}

void broker::start() {
  const auto config = dir_ / "mosquitto.conf";
  pid_ = ::fork();
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 1);
    ::dup2(null, 2);
    ::execlp("mosquitto", "mosquitto", "-c", config.c_str(), nullptr);
    ::execl("/usr/sbin/mosquitto", "mosquitto", "-c", config.c_str(), nullptr);
    ::_exit(127);
  }
  for (const auto until = std::chrono::steady_clock::now() + 60s; !accepts_connections(port_);) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = 0;
      if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        throw std::runtime_error("mosquitto is not installed (apt-get install mosquitto)");
      throw std::runtime_error("mosquitto ended: " + pl::testing::read_file(dir_ / "log"));
    }
    if (std::chrono::steady_clock::now() > until) throw std::runtime_error("mosquitto does not accept connections");
    std::this_thread::sleep_for(5ms);
  }
}

void broker::signal(int number) const { ::kill(pid_, number); }

void broker::stop(int number) {
  if (pid_ <= 0) return;
  ::kill(pid_, number);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

std::string broker::url(const std::string& scheme) const { return scheme + "://127.0.0.1:" + std::to_string(port_); }

// ------------------------------------------------------------------------------------------------------- subscriber ---

subscriber::subscriber(const broker& from, const std::string& filter, bool v5, const std::string& id)
    : filter_(filter), v5_(v5) {
  MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
  create.MQTTVersion = v5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
  MQTTAsync_createWithOptions(&handle_, from.url("tcp").c_str(), id.c_str(), MQTTCLIENT_PERSISTENCE_NONE, nullptr,
                              &create);
  MQTTAsync_setCallbacks(handle_, this, nullptr, arrived, nullptr);
  MQTTAsync_setConnected(handle_, this, [](void* self, char*) { static_cast<subscriber*>(self)->subscribe(); });
  MQTTAsync_connectOptions plain = MQTTAsync_connectOptions_initializer, five = MQTTAsync_connectOptions_initializer5;
  auto& o = v5 ? five : plain;
  o.cleansession = 0;  // the broker keeps its messages while it is disconnected
  o.automaticReconnect = 1;
  o.maxRetryInterval = 1;
  if (!v5) o.MQTTVersion = MQTTVERSION_3_1_1;
  if (MQTTAsync_connect(handle_, &o) != MQTTASYNC_SUCCESS) throw std::runtime_error("the subscriber cannot connect");
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, 60s, [this] { return subscribed_; }))
    throw std::runtime_error("the subscriber cannot subscribe");
}

subscriber::~subscriber() { MQTTAsync_destroy(&handle_); }

void subscriber::subscribe() {
  MQTTAsync_responseOptions o = MQTTAsync_responseOptions_initializer;
  o.context = this;
  if (v5_)
    o.onSuccess5 = [](void* self, MQTTAsync_successData5*) {
      auto& s = *static_cast<subscriber*>(self);
      const std::scoped_lock lock(s.mutex_);
      s.subscribed_ = true;
      s.changed_.notify_all();
    };
  else
    o.onSuccess = [](void* self, MQTTAsync_successData*) {
      auto& s = *static_cast<subscriber*>(self);
      const std::scoped_lock lock(s.mutex_);
      s.subscribed_ = true;
      s.changed_.notify_all();
    };
  MQTTAsync_subscribe(handle_, filter_.c_str(), 2, &o);
}

int subscriber::arrived(void* self, char* topic, int n, MQTTAsync_message* m) {
  auto& s = *static_cast<subscriber*>(self);
  received r{n > 0 ? std::string(topic, static_cast<std::size_t>(n)) : std::string(topic),
             {static_cast<char*>(m->payload), static_cast<std::size_t>(m->payloadlen)},
             m->qos,
             m->retained != 0,
             {},
             0,
             {}};
  for (int i = 0; i < m->properties.count; ++i) {
    const auto& p = m->properties.array[i];
    const auto text = [](const MQTTLenString& t) { return std::string(t.data, static_cast<std::size_t>(t.len)); };
    if (p.identifier == MQTTPROPERTY_CODE_CONTENT_TYPE) r.content_type = text(p.value.data);
    if (p.identifier == MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL) r.expiry = static_cast<int>(p.value.integer4);
    if (p.identifier == MQTTPROPERTY_CODE_USER_PROPERTY) r.user_properties[text(p.value.data)] = text(p.value.value);
  }
  {
    const std::scoped_lock lock(s.mutex_);
    s.all_.push_back(std::move(r));
    s.changed_.notify_all();
  }
  MQTTAsync_freeMessage(&m);
  MQTTAsync_free(topic);
  return 1;
}

std::vector<received> subscriber::wait_until(const std::function<bool(const std::vector<received>&)>& enough) {
  std::unique_lock lock(mutex_);
  for (auto seen = all_.size(); !enough(all_); seen = all_.size())
    if (!changed_.wait_for(lock, 60s, [&] { return all_.size() != seen; })) break;
  return all_;
}
std::vector<received> subscriber::wait_for(std::size_t n) {
  return wait_until([n](const auto& all) { return all.size() >= n; });
}

// -------------------------------------------------------------------------------------------------- scripted_broker ---

scripted_broker::scripted_broker(on_publish handler)
    : handler_(std::move(handler)), listener_(listen_on_free_port()), port_(port_of(listener_)) {
  thread_ = std::thread([this] { run(); });
}

scripted_broker::~scripted_broker() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
    ::shutdown(listener_, SHUT_RDWR);
    if (client_ >= 0) ::shutdown(client_, SHUT_RDWR);
  }
  thread_.join();
  ::close(listener_);
}

int scripted_broker::connections() {
  const std::scoped_lock lock(mutex_);
  return connections_;
}

void scripted_broker::run() {
  for (;;) {
    const int fd = ::accept(listener_, nullptr, nullptr);
    {
      const std::scoped_lock lock(mutex_);
      if (fd < 0 || stop_) return;
      client_ = fd;
    }
    serve(fd);
    const std::scoped_lock lock(mutex_);
    client_ = -1;
    ::close(fd);
  }
}

void scripted_broker::acknowledge(std::uint16_t id) {
  const unsigned char ack[] = {0x40, 2, static_cast<unsigned char>(id >> 8U), static_cast<unsigned char>(id & 255U)};
  const std::scoped_lock lock(mutex_);
  if (client_ >= 0) static_cast<void>(::send(client_, ack, sizeof ack, MSG_NOSIGNAL));
}

void scripted_broker::serve(int fd) {
  const auto read = [fd](std::size_t n) -> std::optional<std::string> {
    std::string out(n, '\0');
    for (std::size_t at = 0; at < n;) {
      const auto got = ::recv(fd, out.data() + at, n - at, 0);
      if (got <= 0) return std::nullopt;
      at += static_cast<std::size_t>(got);
    }
    return out;
  };
  for (;;) {
    const auto head = read(1);
    if (!head) return;
    std::size_t size = 0;
    for (unsigned shift = 0;; shift += 7) {
      const auto digit = read(1);
      if (!digit) return;
      size |= static_cast<std::size_t>((*digit)[0] & 0x7F) << shift;
      if (((*digit)[0] & 0x80) == 0) break;
    }
    const auto body = read(size);
    if (!body) return;
    const auto u16 = [&](std::size_t at) {
      return static_cast<std::uint16_t>(static_cast<unsigned char>((*body)[at]) << 8U |
                                        static_cast<unsigned char>((*body)[at + 1]));
    };
    const auto type = static_cast<unsigned char>((*head)[0]) >> 4U;
    if (type == 1) {  // CONNECT
      const unsigned char accepted[] = {0x20, 2, 0, 0};
      const std::scoped_lock lock(mutex_);
      ++connections_;
      static_cast<void>(::send(fd, accepted, sizeof accepted, MSG_NOSIGNAL));
    } else if (type == 3) {  // PUBLISH, QoS 1
      const std::size_t n = u16(0);
      if (!handler_(*this, {body->substr(2, n), body->substr(n + 4), u16(n + 2)})) return;
    } else if (type == 14) {  // DISCONNECT
      return;
    }
  }
}

}  // namespace mqtt::testing
