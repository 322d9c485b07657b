// SPDX-License-Identifier: Apache-2.0
#include "client.hpp"

#include "tls_fault.hpp"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>

namespace mqtt {
namespace {

constexpr std::uint64_t largest_packet = 268'435'455 + 5;  // of MQTT itself

std::string error_name(int error) { return std::generic_category().message(error); }

// Why a TCP connection doesn't come about, in the system's words; Paho only says that it failed.
std::string probe(const broker_url& url, std::chrono::milliseconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found))
    return "the name '" + url.host + "' can't be resolved (" + ::gai_strerror(error) + ")";
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(found, ::freeaddrinfo);
  std::string why;
  for (const auto* a = found; a != nullptr; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    int error = ::connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd p{fd, POLLOUT, 0};
      socklen_t size = sizeof error;
      if (::poll(&p, 1, static_cast<int>(timeout.count())) == 0)
        error = ETIMEDOUT;
      else
        ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    ::close(fd);
    if (error == 0) return {};
    why = error_name(error);
  }
  return why;
}

std::string refusal_text_3(int code) {
  switch (code) {
    case 1:
      return "it doesn't speak MQTT 3.1.1 (code 1); set `version: 5`";
    case 2:
      return "it doesn't like the client id (code 2); set `client_id`";
    case 3:
      return "it is not available now (code 3); it will be tried again";
    case 4:
      return "bad user name or password (code 4); check `user` and `password`";
    case 5:
      return "not authorized (code 5); check `user` and `password`, and what the broker allows them";
    default:
      return "code " + std::to_string(code);
  }
}

std::string refusal_text_5(int code) {
  auto text = reason_text(code);
  switch (code) {
    case 0x84:
      return text + "; set `version: 3.1.1`";
    case 0x85:
      return text + "; set `client_id`";
    case 0x86:
    case 0x87:
      return text + "; check `user` and `password`, and what the broker allows them";
    default:
      return text;
  }
}

bool is_lasting_refusal(protocol version, int code) {
  if (version == protocol::v3_1_1) return code == 1 || code == 2 || code == 4 || code == 5;
  return (code >= 0x84 && code <= 0x87) || code == 0x8A || code == 0x8C;
}

// Reasons to hang up that lie in what was sent; all others (shutting down, taken over, ...) would come without it, too.
bool is_about_a_message(MQTTReasonCodes code) {
  switch (code) {
    case MQTTREASONCODE_MALFORMED_PACKET:
    case MQTTREASONCODE_PROTOCOL_ERROR:
    case MQTTREASONCODE_NOT_AUTHORIZED:
    case MQTTREASONCODE_TOPIC_NAME_INVALID:
    case MQTTREASONCODE_PACKET_TOO_LARGE:
    case MQTTREASONCODE_PAYLOAD_FORMAT_INVALID:
    case MQTTREASONCODE_RETAIN_NOT_SUPPORTED:
    case MQTTREASONCODE_QOS_NOT_SUPPORTED:
      return true;
    default:
      return false;
  }
}

// Properties that are freed with it.
class property_list {
 public:
  property_list() = default;
  property_list(const property_list&) = delete;
  property_list& operator=(const property_list&) = delete;
  ~property_list() { MQTTProperties_free(&list_); }
  void add_number(MQTTPropertyCodes code, std::uint32_t value) {
    MQTTProperty p{};
    p.identifier = code;
    p.value.integer4 = value;
    MQTTProperties_add(&list_, &p);
  }
  MQTTProperties* get() { return &list_; }

 private:
  MQTTProperties list_ = MQTTProperties_initializer;
};

}  // namespace

std::string reason_text(int code) {
  const char* text = MQTTReasonCode_toString(static_cast<MQTTReasonCodes>(code));
  std::string hex = "0x00";
  hex[2] = "0123456789ABCDEF"[static_cast<unsigned>(code) >> 4U & 15U];
  hex[3] = "0123456789ABCDEF"[static_cast<unsigned>(code) & 15U];
  return (text != nullptr ? std::string(text) : std::string("unknown reason")) + " (" + hex + ")";
}

// ----------------------------------------------------------------------------------------------------------- flight ---

void flight::begin() {
  const std::scoped_lock lock(mutex_);
  waiting_ = 0;
  settled_ = 0;
  lost_ = blameless_ = taken_over_ = false;
  why_.clear();
}

void flight::sent() {
  const std::scoped_lock lock(mutex_);
  ++waiting_;
}

void flight::not_sent() {
  const std::scoped_lock lock(mutex_);
  --waiting_;
}

void flight::settle(ticket& t, outcome how, int reason) {
  const std::scoped_lock lock(mutex_);
  if (lost_) return;  // Paho gives back what it had: unknown, not refused
  t.state = how;
  t.reason = reason;
  --waiting_;
  ++settled_;
  changed_.notify_one();
}

void flight::lose(std::string why, bool blameless, bool taken_over) {
  const std::scoped_lock lock(mutex_);
  if (!lost_) {
    why_ = std::move(why);
    blameless_ = blameless;
    taken_over_ = taken_over;
  }
  lost_ = true;
  changed_.notify_one();
}

void flight::regain() {
  const std::scoped_lock lock(mutex_);
  if (waiting_ == 0) lost_ = false;
}

flight::wait_result flight::wait_until(std::uint32_t room, std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  for (auto seen = settled_; !lost_ && waiting_ > room; seen = settled_)
    if (!changed_.wait_for(lock, timeout, [&] { return lost_ || waiting_ <= room || settled_ != seen; }))
      return wait_result::timeout;
  return lost_ ? wait_result::lost : wait_result::ok;
}

std::uint32_t flight::waiting() const {
  const std::scoped_lock lock(mutex_);
  return waiting_;
}
std::uint64_t flight::settled() const {
  const std::scoped_lock lock(mutex_);
  return settled_;
}
bool flight::lost() const {
  const std::scoped_lock lock(mutex_);
  return lost_;
}
bool flight::blameless() const {
  const std::scoped_lock lock(mutex_);
  return blameless_;
}
bool flight::taken_over() const {
  const std::scoped_lock lock(mutex_);
  return taken_over_;
}
std::string flight::loss() const {
  const std::scoped_lock lock(mutex_);
  return why_;
}

// ----------------------------------------------------------------------------------------------------------- client ---

// How a connection attempt ends. Written by Paho's thread.
struct client::connecting {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false, ok = false;
  int code = 0;
  std::string message;
  std::uint32_t receive_maximum = 65'535;
  std::uint64_t max_packet_size = largest_packet;
  bool session_present = false;
  std::vector<int> codes;  // of the answer to a subscription

  void finish(bool success, int c, const char* text) {
    const std::scoped_lock lock(mutex);
    done = true;
    ok = success;
    code = c;
    message = text != nullptr ? text : "";
    changed.notify_all();
  }
  bool wait(std::chrono::nanoseconds timeout) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, timeout, [this] { return done; });
  }
  static connecting& of(void* context) { return *static_cast<connecting*>(context); }

  // Has Paho report here how the attempt with these options ends.
  static void report_3(MQTTAsync_connectOptions& o) {
    o.onSuccess = [](void* context, MQTTAsync_successData* data) {
      of(context).session_present = data != nullptr && data->alt.connect.sessionPresent != 0;
      of(context).finish(true, 0, nullptr);
    };
    o.onFailure = [](void* context, MQTTAsync_failureData* data) {
      of(context).finish(false, data->code, data->message);
    };
  }
  static void report_5(MQTTAsync_connectOptions& o) {
    o.onSuccess5 = [](void* context, MQTTAsync_successData5* data) {
      auto& r = of(context);
      auto* p = &data->properties;
      const auto take = [p](MQTTPropertyCodes property, auto& to) {
        if (MQTTProperties_hasProperty(p, property) != 0)
          to = static_cast<std::uint32_t>(MQTTProperties_getNumericValue(p, property));
      };
      take(MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, r.receive_maximum);
      take(MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, r.max_packet_size);
      r.session_present = data->alt.connect.sessionPresent != 0;
      r.finish(true, 0, nullptr);
    };
    o.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
      const int reason = data->reasonCode != 0 ? static_cast<int>(data->reasonCode) : data->code;
      of(context).finish(false, reason, data->message);
    };
  }
};

client::client(connection_settings settings)
    : settings_(std::move(settings)),
      name_("MQTT broker " + settings_.url.name()),
      uri_((settings_.url.tls ? "ssl://" : "tcp://") + settings_.url.name()),
      window_(settings_.max_in_flight),
      max_packet_size_(largest_packet) {}

client::~client() { abandon(); }

// Paho settles what is on its way before this returns, and calls nothing of ours afterwards.
void client::abandon() noexcept {
  if (handle_ != nullptr) MQTTAsync_destroy(&handle_);
  handle_ = nullptr;
}

bool client::connected() const { return handle_ != nullptr && !flight_.lost() && MQTTAsync_isConnected(handle_) != 0; }

pl::result<void> client::check_files() const {
  const auto& t = settings_.tls;
  for (const auto& [option, file] :
       {std::pair{"tls.ca", &t.ca}, std::pair{"tls.cert", &t.cert}, std::pair{"tls.key", &t.key}})
    if (!file->empty() && ::access(file->c_str(), R_OK) != 0)
      return pl::bad_option(option, "cannot read " + *file + ": " + error_name(errno));
  return {};
}

pl::result<MQTTAsync> client::create() {
  MQTTAsync_createOptions options = MQTTAsync_createOptions_initializer;
  if (settings_.version == protocol::v5)
    options.MQTTVersion = MQTTVERSION_5;
  else
    options.MQTTVersion = MQTTVERSION_3_1_1;
  options.maxBufferedMessages = static_cast<int>(settings_.max_in_flight) + 1;
  MQTTAsync fresh = nullptr;
  const bool stores = !settings_.store.empty();
  const int code = MQTTAsync_createWithOptions(&fresh, uri_.c_str(), settings_.client_id.c_str(),
                                               stores ? MQTTCLIENT_PERSISTENCE_DEFAULT : MQTTCLIENT_PERSISTENCE_NONE,
                                               stores ? const_cast<char*>(settings_.store.c_str()) : nullptr, &options);
  if (code != MQTTASYNC_SUCCESS)
    return pl::fatal("cannot make a client for " + name_ + ": " + MQTTAsync_strerror(code));
  return fresh;
}

void client::set_callbacks(MQTTAsync fresh) {
  MQTTAsync_setConnectionLostCallback(fresh, &flight_,
                                      [](void* f, char*) { static_cast<flight*>(f)->lose("the connection was lost"); });
  MQTTAsync_setDisconnected(fresh, &flight_, [](void* f, MQTTProperties*, MQTTReasonCodes code) {
    const bool taken_over = code == MQTTREASONCODE_SESSION_TAKEN_OVER;
    static_cast<flight*>(f)->lose("the broker closed the connection: " + reason_text(code) +
                                      (taken_over ? "; another client uses the same client_id" : ""),
                                  !is_about_a_message(code), taken_over);
  });
  if (take_)
    MQTTAsync_setMessageArrivedCallback(fresh, this, [](void* self, char* topic, int length, MQTTAsync_message* m) {
      const std::string_view name(topic, length > 0 ? static_cast<std::size_t>(length) : std::strlen(topic));
      const std::string_view payload(static_cast<const char*>(m->payload), static_cast<std::size_t>(m->payloadlen));
      static_cast<client*>(self)->take_({name, payload, m->qos, m->retained != 0, m->dup != 0});
      MQTTAsync_freeMessage(&m);
      MQTTAsync_free(topic);
      return 1;
    });
  // Paho reconnects an idle client by itself. What was on its way is not sent again by it, but by the next write.
  MQTTAsync_setConnected(fresh, &flight_, [](void* f, char*) { static_cast<flight*>(f)->regain(); });
}

pl::result<void> client::connect() {
  if (auto r = check_files(); !r) return r;
  // The old client goes after the new one is there: with the last client Paho stops its threads, which takes a second.
  auto fresh = create();
  if (!fresh.ok()) return fresh.why();
  std::swap(handle_, *fresh);
  if (*fresh != nullptr) MQTTAsync_destroy(&*fresh);
  flight_.begin();
  set_callbacks(handle_);

  connecting result;
  const int code = begin_connect(handle_, result);
  if (code != MQTTASYNC_SUCCESS) {
    abandon();
    return pl::retry("cannot connect to " + name_ + ": " + MQTTAsync_strerror(code));
  }
  const bool answered = result.wait(settings_.connect_timeout);
  if (answered && result.ok) {
    window_ = std::max(1U, std::min(settings_.max_in_flight, result.receive_maximum));
    session_present_ = result.session_present;
    max_packet_size_ = result.max_packet_size;
    return {};
  }
  abandon();
  if (!answered)
    return pl::retry(unreachable(
        "no answer within " +
        std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(settings_.connect_timeout).count()) +
        " ms"));
  return refusal(result);
}

int client::begin_connect(MQTTAsync fresh, connecting& result) {
  const bool v5 = settings_.version == protocol::v5;
  MQTTAsync_connectOptions plain = MQTTAsync_connectOptions_initializer;
  MQTTAsync_connectOptions five = MQTTAsync_connectOptions_initializer5;
  MQTTAsync_connectOptions& o = v5 ? five : plain;
  MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
  MQTTAsync_SSLOptions ssl = MQTTAsync_SSLOptions_initializer;
  property_list properties;

  o.keepAliveInterval = static_cast<int>(settings_.keep_alive.count());
  o.connectTimeout = static_cast<int>(std::chrono::ceil<std::chrono::seconds>(settings_.connect_timeout).count());
  o.automaticReconnect = settings_.reconnects ? 1 : 0;
  o.minRetryInterval = 1;
  o.maxRetryInterval = 30;
  o.context = &result;
  if (!settings_.user.empty()) o.username = settings_.user.c_str();
  if (!settings_.password.empty()) o.password = settings_.password.c_str();
  if (settings_.will) {
    will.topicName = settings_.will->topic.c_str();
    will.payload = {static_cast<int>(settings_.will->payload.size()), settings_.will->payload.data()};
    will.qos = settings_.will->qos;
    will.retained = settings_.will->retain;
    o.will = &will;
  }
  if (settings_.url.tls) {
    fill_ssl(ssl);
    o.ssl = &ssl;
  }
  if (v5) {
    o.cleanstart = settings_.clean_session;
    if (settings_.session_expiry.count() > 0)
      properties.add_number(MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                            static_cast<std::uint32_t>(settings_.session_expiry.count()));
    if (take_) properties.add_number(MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, std::min(settings_.max_in_flight, 65'535U));
    o.connectProperties = properties.get();
    connecting::report_5(o);
  } else {
    o.MQTTVersion = MQTTVERSION_3_1_1;
    o.cleansession = settings_.clean_session;
    connecting::report_3(o);
  }
  return MQTTAsync_connect(fresh, &o);
}

// Paho copies the strings within MQTTAsync_connect.
void client::fill_ssl(MQTTAsync_SSLOptions& ssl) {
  const auto given = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
  const auto& t = settings_.tls;
  ssl.trustStore = given(t.ca);
  ssl.keyStore = given(t.cert);
  ssl.privateKey = given(t.key);
  ssl.privateKeyPassword = given(t.key_password);
  ssl.enableServerCertAuth = t.verify;
  ssl.verify = t.verify;
  ssl.ssl_error_context = this;
  ssl.ssl_error_cb = note_tls_error;
  const std::scoped_lock lock(tls_mutex_);
  tls_error_.clear();
}

// OpenSSL says "thread:error:code:library:function:reason:file:line:data": the reason is what people understand.
int client::note_tls_error(const char* text, std::size_t n, void* self) {
  auto& c = *static_cast<client*>(self);
  std::string_view line(text, n);
  if (const auto at = line.find("error:"); at != std::string_view::npos) {
    line.remove_prefix(at);
    for (int field = 0; field < 4 && line.find(':') != std::string_view::npos; ++field)
      line.remove_prefix(line.find(':') + 1);
    line = line.substr(0, line.find(':'));
  }
  const std::scoped_lock lock(c.tls_mutex_);
  if (c.tls_error_.empty()) c.tls_error_ = line;
  return 1;
}

pl::failure client::refusal(const connecting& result) const {
  const bool v5 = settings_.version == protocol::v5;
  if (result.code > 0) {
    const auto text =
        name_ + " refuses the connection: " + (v5 ? refusal_text_5(result.code) : refusal_text_3(result.code));
    return is_lasting_refusal(settings_.version, result.code) ? pl::fatal(text) : pl::retry(text);
  }
  return pl::retry(unreachable(result.message.empty() ? MQTTAsync_strerror(result.code) : result.message));
}

std::string client::unreachable(const std::string& detail) const {
  using namespace std::chrono_literals;
  if (const auto why = probe(settings_.url, 1s); !why.empty())
    return "cannot reach " + name_ + ": " + why + "; is it running, and is `url` right?";
  if (settings_.url.tls) {
    if (const auto fault = tls_fault(settings_.url, settings_.tls, 1s); !fault.empty())
      return "no TLS connection to " + name_ + ": " + fault;
    return "no TLS connection to " + name_ + ": " + (tls_error_.empty() ? detail : tls_error_) +
           "; does the certificate name this host, and is `tls.ca` the authority that signed it?";
  }
  return "no MQTT connection to " + name_ + ": " + detail +
         "; is it an MQTT broker, and does this port want TLS (mqtts://)?";
}

pl::result<void> client::subscribe(const std::vector<std::string>& filters, int qos) {
  std::vector<char*> names;
  for (const auto& f : filters) names.push_back(const_cast<char*>(f.c_str()));
  std::vector<int> levels(filters.size(), qos);
  connecting answer;
  answer.codes.assign(filters.size(), 0);
  MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
  options.context = &answer;
  // Paho gives the codes of one filter in another place than those of several.
  if (settings_.version == protocol::v5) {
    options.onSuccess5 = [](void* context, MQTTAsync_successData5* data) {
      auto& a = connecting::of(context);
      for (std::size_t i = 0; i < a.codes.size(); ++i)
        a.codes[i] = a.codes.size() == 1 ? static_cast<int>(data->reasonCode) : data->alt.sub.reasonCodes[i];
      a.finish(true, 0, nullptr);
    };
    options.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
      connecting::of(context).finish(false, data->reasonCode != 0 ? data->reasonCode : data->code, data->message);
    };
  } else {
    options.onSuccess = [](void* context, MQTTAsync_successData* data) {
      auto& a = connecting::of(context);
      for (std::size_t i = 0; i < a.codes.size(); ++i)
        a.codes[i] = a.codes.size() == 1 ? data->alt.qos : data->alt.qosList[i];
      a.finish(true, 0, nullptr);
    };
    options.onFailure = [](void* context, MQTTAsync_failureData* data) {
      connecting::of(context).finish(false, data->code, data->message);
    };
  }
  const int code =
      MQTTAsync_subscribeMany(handle_, static_cast<int>(names.size()), names.data(), levels.data(), &options);
  if (code != MQTTASYNC_SUCCESS) return pl::retry("cannot subscribe at " + name_ + ": " + MQTTAsync_strerror(code));
  if (!answer.wait(settings_.connect_timeout)) {
    abandon();  // before the answer's memory goes
    return pl::retry(name_ + " did not answer to the subscription");
  }
  if (!answer.ok && answer.code < 0x80)
    return pl::retry(name_ + " did not take the subscription: " +
                     (answer.message.empty() ? "the connection was lost" : answer.message));
  if (!answer.ok) answer.codes.assign(filters.size(), answer.code);
  return granted(filters, answer.codes);
}

pl::result<void> client::granted(const std::vector<std::string>& filters, const std::vector<int>& codes) const {
  for (std::size_t i = 0; i < filters.size(); ++i)
    if (codes[i] >= 0x80)
      return pl::bad_option(
          "topic", name_ + " refuses the subscription to " + filters[i] + ": " +
                       (settings_.version == protocol::v5 ? reason_text(codes[i]) : std::string("not allowed")) +
                       "; may this user read it, and is the filter right?");
  return {};
}

void client::disconnect() {
  if (handle_ == nullptr) return;
  connecting done;
  MQTTAsync_disconnectOptions plain = MQTTAsync_disconnectOptions_initializer;
  MQTTAsync_disconnectOptions five = MQTTAsync_disconnectOptions_initializer5;
  auto& o = settings_.version == protocol::v5 ? five : plain;
  o.timeout = 1000;
  o.context = &done;
  if (settings_.version == protocol::v5) {
    o.onSuccess5 = [](void* context, MQTTAsync_successData5*) { connecting::of(context).finish(true, 0, nullptr); };
    o.onFailure5 = [](void* context, MQTTAsync_failureData5*) { connecting::of(context).finish(false, 0, nullptr); };
  } else {
    o.onSuccess = [](void* context, MQTTAsync_successData*) { connecting::of(context).finish(true, 0, nullptr); };
    o.onFailure = [](void* context, MQTTAsync_failureData*) { connecting::of(context).finish(false, 0, nullptr); };
  }
  if (MQTTAsync_isConnected(handle_) != 0 && MQTTAsync_disconnect(handle_, &o) == MQTTASYNC_SUCCESS)
    done.wait(std::chrono::seconds(2));
  abandon();
}

namespace {

constexpr const char* connection_lost = "the connection was lost";

// Has Paho settle the ticket that is the context of these options.
void settle_3(MQTTAsync_responseOptions& o) {
  o.onSuccess = [](void* context, MQTTAsync_successData*) {
    auto& t = *static_cast<flight::ticket*>(context);
    t.owner->settle(t, outcome::delivered);
  };
  o.onFailure = [](void* context, MQTTAsync_failureData*) {
    static_cast<flight::ticket*>(context)->owner->lose(connection_lost);
  };
}

void settle_5(MQTTAsync_responseOptions& o) {
  o.onSuccess5 = [](void* context, MQTTAsync_successData5*) {
    auto& t = *static_cast<flight::ticket*>(context);
    t.owner->settle(t, outcome::delivered);
  };
  o.onFailure5 = [](void* context, MQTTAsync_failureData5* data) {
    auto& t = *static_cast<flight::ticket*>(context);
    if (data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR)
      t.owner->settle(t, outcome::refused, data->reasonCode);
    else
      t.owner->lose(connection_lost);
  };
}

}  // namespace

int client::publish(const message& m, flight::ticket& t) {
  MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
  t.owner = &flight_;
  options.context = &t;
  if (settings_.version == protocol::v5) {
    options.properties = m.properties;
    settle_5(options);
  } else {
    settle_3(options);
  }
  flight_.sent();
  const char* payload = m.payload.empty() ? "" : m.payload.data();
  const int code =
      MQTTAsync_send(handle_, m.topic, static_cast<int>(m.payload.size()), payload, m.qos, m.retain, &options);
  if (code != MQTTASYNC_SUCCESS) flight_.not_sent();
  return code;
}

}  // namespace mqtt
