// SPDX-License-Identifier: Apache-2.0
#include "producer.hpp"

#include <utility>

namespace kafka {

namespace {

producer* owner(void* opaque) { return client::owner_of<producer>(opaque); }

rd_kafka_vu_t bytes(rd_kafka_vtype_t kind, const std::optional<std::string_view>& of) {
  rd_kafka_vu_t part{};
  part.vtype = kind;
  part.u.mem.ptr = of ? const_cast<char*>(of->data()) : nullptr;  // librdkafka copies it and never writes to it
  part.u.mem.size = of ? of->size() : 0;
  return part;
}

rd_kafka_vu_t header(std::string_view name, std::string_view value) {
  rd_kafka_vu_t part{};
  part.vtype = RD_KAFKA_VTYPE_HEADER;
  part.u.header.name = name.data();  // from a std::string: ends with NUL
  part.u.header.val = value.data();
  part.u.header.size = static_cast<ssize_t>(value.size());
  return part;
}

}  // namespace

pl::result<std::unique_ptr<producer>> producer::open(conf_ptr conf, const std::string& topic, pl::context ctx) {
  rd_kafka_conf_set_dr_msg_cb(conf.get(), on_delivery);
  rd_kafka_conf_set_error_cb(conf.get(), on_error);
  auto with = client::create(RD_KAFKA_PRODUCER, std::move(conf), ctx);
  if (!with.ok()) return with.why();
  topic_ptr to(rd_kafka_topic_new(with.value()->get(), topic.c_str(), nullptr));
  if (!to) return pl::fatal("topic '" + topic + "': " + text_of(rd_kafka_last_error()));
  std::unique_ptr<producer> made(new producer(*with, std::move(to), ctx));
  made->client_->set_owner(made.get());
  return made;
}

producer::producer(std::shared_ptr<client> with, topic_ptr topic, pl::context ctx)
    : client_(std::move(with)), topic_(std::move(topic)), ctx_(ctx) {}

producer::~producer() {
  // Messages are in flight only if an exception ended a write. In that case the host writes those rows again.
  rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  client_->set_owner(nullptr);  // the reports of purged messages concern nobody
  topic_.reset();
  client_->cut_log();
}

bool producer::broken() const noexcept {
  return marked_broken_ || rd_kafka_fatal_error(client_->get(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void producer::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto* self = owner(opaque);
  if (self == nullptr) return;
  --self->under_way_;
  if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  try {
    self->failed_.push_back({reinterpret_cast<std::size_t>(message->_private), message->err});
  } catch (...) {  // no exception may propagate through librdkafka's frames
    self->reports_lost_ = true;
  }
}

void producer::on_error(rd_kafka_t*, int code, const char* reason, void* opaque) {
  auto* self = owner(opaque);
  if (self == nullptr) return;
  const auto error = static_cast<rd_kafka_resp_err_t>(code);
  try {
    if (self->warnings_.allows(rd_kafka_err2name(error))) self->ctx_.warn(text_of(error) + ": " + reason);
  } catch (...) {  // no exception may propagate through librdkafka's frames; the next error is logged
  }
}

rd_kafka_vu_t& producer::add(rd_kafka_vtype_t kind) {
  auto& part = parts_.emplace_back();
  part.vtype = kind;
  return part;
}

void producer::send(std::size_t row, const encoded_row& message) {
  parts_.clear();
  add(RD_KAFKA_VTYPE_RKT).u.rkt = topic_.get();
  parts_.push_back(bytes(RD_KAFKA_VTYPE_VALUE, message.value));
  if (message.key) parts_.push_back(bytes(RD_KAFKA_VTYPE_KEY, message.key));
  if (message.time_ms > 0) add(RD_KAFKA_VTYPE_TIMESTAMP).u.i64 = message.time_ms;
  for (const auto& [name, value] : message.headers) parts_.push_back(header(name, value));
  push(row);
}

void producer::send(rd_kafka_topic_t* topic, std::int32_t partition, std::string_view key,
                    std::optional<std::string_view> value) {
  parts_.clear();
  add(RD_KAFKA_VTYPE_RKT).u.rkt = topic;
  add(RD_KAFKA_VTYPE_PARTITION).u.i32 = partition;
  parts_.push_back(bytes(RD_KAFKA_VTYPE_VALUE, value));
  parts_.push_back(bytes(RD_KAFKA_VTYPE_KEY, key));
  push(of_no_row);
}

void producer::push(std::size_t row) {
  constexpr int wait_ms = 20;
  add(RD_KAFKA_VTYPE_MSGFLAGS).u.i = RD_KAFKA_MSG_F_COPY;
  add(RD_KAFKA_VTYPE_OPAQUE).u.ptr = reinterpret_cast<void*>(row);  // NOLINT(performance-no-int-to-ptr): a row number
  while (true) {
    const error_ptr error(rd_kafka_produceva(client_->get(), parts_.data(), parts_.size()));
    const auto code = error ? rd_kafka_error_code(error.get()) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return void(++under_way_);
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) return failed_.push_back({row, code});
    rd_kafka_poll(client_->get(), wait_ms);  // bounded: messages in flight are delivered or time out
  }
}

std::vector<undelivered> producer::finish() {
  constexpr int wait_ms = 1000;
  // Flushing sends without lingering, and returns early when the queue is empty.
  while (under_way_ > 0) rd_kafka_flush(client_->get(), wait_ms);
  // Out of memory while a failure was noted: report one, so that the whole write is repeated.
  if (std::exchange(reports_lost_, false)) failed_.push_back({of_no_row, RD_KAFKA_RESP_ERR__FAIL});
  return std::exchange(failed_, {});
}

// ---------------------------------------------------------------------------------------------------- transactions ---

namespace {

pl::result<void> outcome_of(rd_kafka_error_t* raw, std::string_view step) {
  const error_ptr error(raw);
  if (!error) return {};
  return pl::retry(std::string(step) + ": " + rd_kafka_error_string(error.get()));
}

}  // namespace

pl::result<void> producer::take_over(std::chrono::milliseconds timeout) {
  const error_ptr error(rd_kafka_init_transactions(client_->get(), static_cast<int>(timeout.count())));
  if (!error) return {};
  std::string why = rd_kafka_error_string(error.get());
  if (rd_kafka_error_code(error.get()) == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    why += "; grant the user WRITE and DESCRIBE on transactional ids that begin with pipeline-host/";
  if (rd_kafka_error_code(error.get()) == RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT)
    why += "; 'transaction_timeout' is larger than the brokers' transaction.max.timeout.ms";
  return pl::retry(why);
}

pl::result<void> producer::begin() {
  return outcome_of(rd_kafka_begin_transaction(client_->get()), "begin transaction");
}

pl::result<void> producer::commit(std::chrono::milliseconds timeout) {
  return outcome_of(rd_kafka_commit_transaction(client_->get(), static_cast<int>(timeout.count())),
                    "commit transaction");
}

pl::result<void> producer::abort(std::chrono::milliseconds timeout) {
  return outcome_of(rd_kafka_abort_transaction(client_->get(), static_cast<int>(timeout.count())), "abort transaction");
}

}  // namespace kafka
