// SPDX-License-Identifier: Apache-2.0
#include <pipeline/text.hpp>

#include <kafka_common/client.hpp>
#include <kafka_common/security.hpp>
#include <syslog.h>

#include <array>
#include <vector>

namespace kafka {

bool rate_limit::allows(std::string_view key) {
  const std::scoped_lock lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const auto found = last_.find(key);
  if (found == last_.end()) {
    last_.emplace(key, now);
    return true;
  }
  if (now - found->second < interval_) return false;
  found->second = now;
  return true;
}

namespace {

// Log facilities of failed connections. librdkafka logs an invalid broker certificate under SSLCERTVRFY.
bool is_of_a_certificate(std::string_view facility) { return facility == "SSLCERTVRFY"; }
bool is_of_a_connection(std::string_view facility) {
  return facility == "FAIL" || facility == "ERROR" || is_of_a_certificate(facility);
}

}  // namespace

void log_link::write(int syslog_level, std::string_view facility, std::string_view message) noexcept {
  try {
    const std::scoped_lock lock(mutex_);
    if (!ctx_) return;
    remember(facility, message);
    // Log librdkafka's errors as warnings, because librdkafka retries failed connections. Use debug for messages that
    // need no action: CONFWARN (properties of another client type), GETPID (a transactional id that is still in use;
    // retried), and failures of a connection that a caller waits for and reports.
    const bool reported = awaited() && is_of_a_connection(facility);
    if (reported) (void)limit_.allows(facility);  // also suppress a repetition shortly afterwards
    const bool quiet = reported || facility == "CONFWARN" || facility == "GETPID";
    const auto level = quiet                         ? pl::log_level::debug
                       : syslog_level <= LOG_WARNING ? pl::log_level::warn
                       : syslog_level <= LOG_NOTICE  ? pl::log_level::info
                                                     : pl::log_level::debug;
    if (!ctx_->logs(level) || (level == pl::log_level::warn && !limit_.allows(facility))) return;
    ctx_->log(level, "librdkafka: " + std::string(facility) + ": " + std::string(message));
  } catch (...) {  // out of memory on a librdkafka thread: nobody can handle it
  }
}

void log_link::remember(std::string_view facility, std::string_view message) {
  if (is_of_a_certificate(facility))
    certificate_ = message;
  else if (facility == "FAIL" && (failure_.empty() || !awaited() || !advice_on(message).empty()))
    failure_ = message;  // of several failures, keep one with a remedy
}

void log_link::awaited(bool by_caller) noexcept {
  const std::scoped_lock lock(mutex_);
  using clock = std::chrono::steady_clock;
  awaited_until_ = by_caller ? clock::time_point::max() : clock::time_point::min();
}

std::string log_link::last_failure() const {
  const std::scoped_lock lock(mutex_);
  const bool of_certificate = failure_.find("certificate verify failed") != std::string::npos;
  return of_certificate && !certificate_.empty() ? certificate_ : failure_;
}

void log_link::cut() noexcept {
  const std::scoped_lock lock(mutex_);
  ctx_.reset();
}

void client::on_log(const rd_kafka_t* handle, int level, const char* facility, const char* message) {
  if (auto* self = static_cast<client*>(rd_kafka_opaque(handle))) self->log_.write(level, facility, message);
}

pl::result<std::shared_ptr<client>> client::create(rd_kafka_type_t type, conf_ptr conf, pl::context ctx) {
  std::shared_ptr<client> made(new client(ctx));
  rd_kafka_conf_set_opaque(conf.get(), made.get());
  rd_kafka_conf_set_log_cb(conf.get(), on_log);
  explain_certificates(conf.get());
  std::array<char, 512> why{};
  made->handle_ = rd_kafka_new(type, conf.get(), why.data(), why.size());
  if (made->handle_ == nullptr)
    return pl::fatal("librdkafka rejects the configuration: " + std::string(why.data()) + "; see 'properties'");
  (void)conf.release();  // rd_kafka_new took it over
  return made;
}

client::~client() {
  // The consumer closes the group while it can still serve the rebalance; this destructor cannot.
  if (handle_ != nullptr) rd_kafka_destroy_flags(handle_, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

// Input: "[thrd:x]: ssl://a:9092/bootstrap: SSL handshake failed: error:0A000086:SSL routines::why: more (after 5ms in
// ...)"
std::string explained(std::string_view message) {
  const auto advice = advice_on(message);
  if (message.starts_with("[thrd:"))
    if (const auto end = message.find("]: "); end != std::string_view::npos) message.remove_prefix(end + 3);
  if (const auto scheme = message.find("://"); scheme < message.find(' ')) message.remove_prefix(scheme + 3);
  message = message.substr(0, message.find(" (after "));
  std::string text(message);
  if (const auto first = text.find("/bootstrap: "); first != std::string::npos) text.erase(first, 10);
  if (const auto code = text.find("error:"); code != std::string::npos)
    if (const auto end = text.find("::", code); end != std::string::npos) text.erase(code, end + 2 - code);
  return advice.empty() ? text : text + "; " + advice;
}

namespace {

log_link& log_of(rd_kafka_t* handle) { return static_cast<client*>(rd_kafka_opaque(handle))->log(); }

// Marks the log link as awaited for the lifetime of this object.
class awaiting {
 public:
  explicit awaiting(rd_kafka_t* handle) : log_(log_of(handle)) { log_.awaited(true); }
  awaiting(const awaiting&) = delete;
  awaiting& operator=(const awaiting&) = delete;
  ~awaiting() { log_.awaited(false); }

 private:
  log_link& log_;
};

using metadata_ptr = std::unique_ptr<const rd_kafka_metadata_t, pl::freed_by<rd_kafka_metadata_destroy>>;

pl::failure unreachable(std::string_view brokers, rd_kafka_t* handle, rd_kafka_resp_err_t code) {
  const auto why = log_of(handle).last_failure();
  const auto advice = advice_on(why);
  return pl::retry("no response from any Kafka broker at " + std::string(brokers) + ": " +
                   (why.empty() ? text_of(code) : explained(why)) +
                   (advice.empty() ? "; check the option 'brokers' and the network" : ""));
}

std::vector<std::string> existing_topics(rd_kafka_t* handle, int timeout_ms) {
  const rd_kafka_metadata_t* raw = nullptr;
  if (rd_kafka_metadata(handle, 1, nullptr, &raw, timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR) return {};
  const metadata_ptr metadata(raw);
  std::vector<std::string> names;
  for (const auto& topic : std::span(metadata->topics, static_cast<std::size_t>(metadata->topic_cnt)))
    if (topic.err == RD_KAFKA_RESP_ERR_NO_ERROR) names.emplace_back(topic.topic);
  return names;
}

pl::result<void> check_topic(rd_kafka_t* handle, std::string_view brokers, const std::string& name, int timeout_ms) {
  const topic_ptr topic(rd_kafka_topic_new(handle, name.c_str(), nullptr));
  const rd_kafka_metadata_t* raw = nullptr;
  const auto code = rd_kafka_metadata(handle, 0, topic.get(), &raw, timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return unreachable(brokers, handle, code);
  const metadata_ptr metadata(raw);
  const auto fault = metadata->topic_cnt == 1 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  if (fault == RD_KAFKA_RESP_ERR_NO_ERROR || fault == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE) return {};
  if (fault != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
    return pl::retry("topic '" + name + "' at " + std::string(brokers) + ": " + text_of(fault));
  return pl::retry("there is no topic '" + name + "' at " + std::string(brokers) +
                   pl::did_you_mean(name, existing_topics(handle, timeout_ms), "; ") +
                   " (create it, or correct the name)");
}

}  // namespace

pl::result<void> check_topics(rd_kafka_t* handle, std::string_view brokers, std::span<const std::string> topics,
                              std::chrono::milliseconds timeout) {
  const awaiting us(handle);
  const auto timeout_ms = static_cast<int>(timeout.count());
  for (const auto& topic : topics)
    if (auto found = check_topic(handle, brokers, topic, timeout_ms); !found.ok()) return found;
  if (!topics.empty()) return {};
  const rd_kafka_metadata_t* raw = nullptr;
  const auto code = rd_kafka_metadata(handle, 0, nullptr, &raw, timeout_ms);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return unreachable(brokers, handle, code);
  rd_kafka_metadata_destroy(raw);
  return {};
}

}  // namespace kafka
