// SPDX-License-Identifier: Apache-2.0
#include "reply.hpp"

namespace mqtt {

// The callbacks for Paho; `context` is the reply.
struct reply::callbacks {
  static reply& of(void* context) { return *static_cast<reply*>(context); }

  static void failed(void* context, MQTTAsync_failureData* data) {
    of(context).finish(false, data != nullptr ? data->code : 0, data != nullptr ? data->message : nullptr);
  }
  static void failed_5(void* context, MQTTAsync_failureData5* data) {
    if (data == nullptr) return of(context).finish(false);
    of(context).finish(false, data->reasonCode != 0 ? static_cast<int>(data->reasonCode) : data->code, data->message);
  }

  static void connected(void* context, MQTTAsync_successData* data) {
    of(context).session_present = data != nullptr && data->alt.connect.sessionPresent != 0;
    of(context).finish(true);
  }
  static void connected_5(void* context, MQTTAsync_successData5* data) {
    auto& r = of(context);
    auto* p = &data->properties;
    const auto take = [p](MQTTPropertyCodes property, auto& to) {
      if (MQTTProperties_hasProperty(p, property) != 0)
        to = static_cast<std::uint32_t>(MQTTProperties_getNumericValue(p, property));
    };
    take(MQTTPROPERTY_CODE_RECEIVE_MAXIMUM, r.receive_maximum);
    take(MQTTPROPERTY_CODE_MAXIMUM_PACKET_SIZE, r.max_packet_size);
    take(MQTTPROPERTY_CODE_MAXIMUM_QOS, r.max_qos);
    take(MQTTPROPERTY_CODE_RETAIN_AVAILABLE, r.retain_available);
    take(MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, r.session_expiry);
    r.session_present = data->alt.connect.sessionPresent != 0;
    r.finish(true);
  }

  // Paho reports the code of a single filter in a different field than those of several filters.
  static void granted(void* context, MQTTAsync_successData* data) {
    auto& r = of(context);
    for (std::size_t i = 0; i < r.grants.size(); ++i)
      r.grants[i] = r.grants.size() == 1 ? data->alt.qos : data->alt.qosList[i];
    r.finish(true);
  }
  static void granted_5(void* context, MQTTAsync_successData5* data) {
    auto& r = of(context);
    for (std::size_t i = 0; i < r.grants.size(); ++i)
      r.grants[i] = r.grants.size() == 1 ? static_cast<int>(data->reasonCode) : data->alt.sub.reasonCodes[i];
    r.finish(true);
  }
};

void reply::expect(MQTTAsync_connectOptions& o, protocol version) {
  o.context = this;
  if (version == protocol::v5) {
    o.onSuccess5 = callbacks::connected_5;
    o.onFailure5 = callbacks::failed_5;
  } else {
    o.onSuccess = callbacks::connected;
    o.onFailure = callbacks::failed;
  }
}

void reply::expect(MQTTAsync_disconnectOptions& o, protocol version) {
  o.context = this;
  if (version == protocol::v5) {
    o.onSuccess5 = [](void* context, MQTTAsync_successData5*) { callbacks::of(context).finish(true); };
    o.onFailure5 = [](void* context, MQTTAsync_failureData5*) { callbacks::of(context).finish(false); };
  } else {
    o.onSuccess = [](void* context, MQTTAsync_successData*) { callbacks::of(context).finish(true); };
    o.onFailure = [](void* context, MQTTAsync_failureData*) { callbacks::of(context).finish(false); };
  }
}

void reply::expect_grants(MQTTAsync_responseOptions& o, protocol version, std::size_t filters) {
  grants.assign(filters, 0);
  o.context = this;
  if (version == protocol::v5) {
    o.onSuccess5 = callbacks::granted_5;
    o.onFailure5 = callbacks::failed_5;
  } else {
    o.onSuccess = callbacks::granted;
    o.onFailure = callbacks::failed;
  }
}

void reply::expect_end(MQTTAsync_responseOptions& o, protocol version) {
  o.context = this;
  if (version == protocol::v5) {
    o.onSuccess5 = [](void* context, MQTTAsync_successData5*) { callbacks::of(context).finish(true); };
    o.onFailure5 = callbacks::failed_5;
  } else {
    o.onSuccess = [](void* context, MQTTAsync_successData*) { callbacks::of(context).finish(true); };
    o.onFailure = callbacks::failed;
  }
}

bool reply::wait(std::chrono::nanoseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [this] { return done_; });
}

void reply::finish(bool success, int c, const char* text) {
  const std::scoped_lock lock(mutex_);
  done_ = true;
  ok = success;
  code = c;
  message = text != nullptr ? text : "";
  changed_.notify_all();
}

}  // namespace mqtt
