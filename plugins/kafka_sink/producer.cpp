// SPDX-License-Identifier: Apache-2.0
#include "producer.hpp"

#include <utility>

namespace kafka {

namespace {

producer& owner(void* opaque) { return *static_cast<producer*>(client::owner_of(opaque)); }

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
  part.u.header.name = name.data();  // a std::string's: it ends with a NUL
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
  // Nothing is under way unless a write was cut short by an exception: then the host writes those rows again.
  rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
  topic_.reset();
  client_->cut_log();
}

bool producer::broken() const noexcept {
  return rd_kafka_fatal_error(client_->get(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void producer::on_delivery(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  auto& self = owner(opaque);
  --self.under_way_;
  if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
    self.failed_.push_back({reinterpret_cast<std::size_t>(message->_private), message->err});
}

void producer::on_error(rd_kafka_t*, int code, const char* reason, void* opaque) {
  auto& self = owner(opaque);
  const auto error = static_cast<rd_kafka_resp_err_t>(code);
  if (self.warnings_.allows(rd_kafka_err2name(error))) self.ctx_.warn(text_of(error) + ": " + reason);
}

rd_kafka_resp_err_t producer::enqueue(std::size_t row, const encoded_row& message) {
  parts_.clear();
  auto add = [&](rd_kafka_vtype_t kind) -> rd_kafka_vu_t& {
    auto& part = parts_.emplace_back();
    part.vtype = kind;
    return part;
  };
  add(RD_KAFKA_VTYPE_RKT).u.rkt = topic_.get();
  add(RD_KAFKA_VTYPE_MSGFLAGS).u.i = RD_KAFKA_MSG_F_COPY;
  add(RD_KAFKA_VTYPE_OPAQUE).u.ptr = reinterpret_cast<void*>(row);
  parts_.push_back(bytes(RD_KAFKA_VTYPE_VALUE, message.value));
  if (message.key) parts_.push_back(bytes(RD_KAFKA_VTYPE_KEY, message.key));
  if (message.time_ms > 0) add(RD_KAFKA_VTYPE_TIMESTAMP).u.i64 = message.time_ms;
  for (const auto& [name, value] : message.headers) parts_.push_back(header(name, value));
  const error_ptr error(rd_kafka_produceva(client_->get(), parts_.data(), parts_.size()));
  return error ? rd_kafka_error_code(error.get()) : RD_KAFKA_RESP_ERR_NO_ERROR;
}

void producer::send(std::size_t row, const encoded_row& message) {
  constexpr int wait_ms = 20;
  auto code = enqueue(row, message);
  while (code == RD_KAFKA_RESP_ERR__QUEUE_FULL) {  // bounded: what is under way arrives or times out
    rd_kafka_poll(client_->get(), wait_ms);
    code = enqueue(row, message);
  }
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR)
    ++under_way_;
  else
    failed_.push_back({row, code});
}

std::vector<undelivered> producer::finish() {
  constexpr int wait_ms = 1000;
  // Flushing sends at once what would linger; it returns early where nothing is left.
  while (under_way_ > 0) rd_kafka_flush(client_->get(), wait_ms);
  return std::exchange(failed_, {});
}

}  // namespace kafka
