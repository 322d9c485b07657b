// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace json_telemetry {

using pl::option;

pl::option_table<unit_options> unit_options::table() {
  return {
      option(&unit_options::from, "from", "Paths of the field with the unit; the first that is present is used.")
          .required()
          .example("[temperature.unit]"),
      option(&unit_options::accept, "accept",
             "Accepted units, as devices write them. A value with another unit is rejected; a value without a unit is "
             "accepted.")
          .required()
          .example("[C, celsius]")};
}

pl::option_table<column_options> column_options::table() {
  return {
      option(&column_options::name, "name", "Name of the output column.").required().example("co2"),
      option(&column_options::from, "from",
             "Paths of the field, such as metrics.co2 or position[0]; the first that is present and not null is used. "
             "Write a dot inside a key as \\. Default: the column's name, at the top level and in nested_in.")
          .example("[metrics.co2, co2_ppm]"),
      option(
          &column_options::type, "type",
          "Type of the column. float: 64 bits; int: 64 bits, exact; json: any value in its original text; time: parsed "
          "according to time.unit and time.zone."),
      option(&column_options::required, "required",
             "Whether to reject a record whose field is missing, null or an empty text."),
      option(&column_options::otherwise, "default",
             "Value of the column if the field is missing or null. Default: null.")
          .example("0"),
      option(&column_options::coerce, "coerce", "Overrides the plugin's coerce option for this column."),
      option(&column_options::unit, "unit", "Rejects values in another unit, if devices send the unit.")
          .example("{from: [temperature.unit], accept: [C, celsius]}")};
}

pl::option_table<time_options> time_options::table() {
  return {
      option(&time_options::column, "column", "Output column for the record's time."),
      option(&time_options::from, "from",
             "Paths of the record's time, at the top level and in nested_in; the first that is present and not null is "
             "used."),
      option(&time_options::unit, "unit",
             "Unit of times. auto: ISO 8601, or a number whose size determines the unit (correct for all times from "
             "1973). With a declared unit, times in any other form are rejected."),
      option(&time_options::zone, "zone",
             "Zone of times that have none: utc, or an offset such as +05:30; reject rejects such times.")
          .example("\"+01:00\""),
      option(&time_options::missing, "missing",
             "What to do with a record without a time. reject: reject it; message_time: use the time of the message "
             "(Kafka's timestamp).")};
}

pl::option_table<window_options> window_options::table() {
  return {
      option(&window_options::past, "past",
             "Maximum age of a record. Older records are rejected, so that a device with a wrong clock cannot create "
             "thousands of chunks. 0: no limit.")
          .range(0),
      option(&window_options::future, "future",
             "How far in the future a record's time may be; later records are rejected. 0: no limit.")
          .range(0),
      option(&window_options::around, "around",
             "Reference for past and future. clock: the host's clock; message_time: the time of the message, so that a "
             "replay has the same result at any date (the clock if a message has no time).")};
}

pl::option_table<ids_from_options> ids_from_options::table() {
  return {option(&ids_from_options::topic, "topic",
                 "Pattern of ids in the message's topic. {name} stands for a column of type text, {} for any text. A "
                 "placeholder does not match a slash.")
              .example("\"users/{user_id}/devices/{device_id}/telemetry\""),
          option(&ids_from_options::key, "key",
                 "Pattern of ids in the message's key, in the form of topic; used if the topic does not match.")
              .example("\"{user_id}:{device_id}\""),
          option(&ids_from_options::conflict, "conflict",
                 "What to do if the id in the payload differs from the one in the topic or key. reject: reject the "
                 "record; payload: use the id in the payload; path: use the id in the topic or key.")};
}

pl::option_table<options> options::table() {
  return {
      option(&options::payload, "payload", "Input column with the JSON document, as bytes, text or JSON."),
      option(&options::time, "time", "How to find and parse the record's time."),
      option(&options::time_window, "time_window", "Which times are accepted."),
      option(
          &options::ids, "ids",
          "Columns that identify the record's owner. They are required strings (whole numbers are accepted, too), also "
          "found in camelCase (userId, userID), as an object (user.id) or bare (user), at the top level and in "
          "nested_in."),
      option(&options::ids_from, "ids_from", "Ids from the message's topic or key instead of the payload.")
          .example("{topic: \"users/{user_id}/devices/{device_id}/telemetry\"}"),
      option(&options::metrics, "metrics",
             "Columns of type float, also found in camelCase, at the top level and in nested_in. Set it to the metric "
             "columns of your table."),
      option(&options::nested_in, "nested_in", "Objects in which to look for time, ids and metrics, too."),
      option(&options::columns, "columns",
             "Columns that need more than a name. A column with the name of an id or a metric replaces it.")
          .example("[{name: firmware, from: [meta.fw], type: text}]"),
      option(&options::keep, "keep", "Input columns to pass on unchanged.").example("[topic, partition, offset]"),
      option(&options::extra, "extra",
             "Column for the fields that are not mapped to another column, as a JSON object in their original text; "
             "null if there are none. off: drop these fields."),
      option(&options::readings, "readings",
             "Paths of arrays whose elements are objects: each element becomes a record and inherits the fields around "
             "the array that it does not have itself. A document that is an array is always read as an array of "
             "records."),
      option(&options::coerce, "coerce",
             "strict: a value must have its column's type, and a float must not round an integer. lenient: also accept "
             "numbers in strings, numbers as text, and 0 and 1 as bool."),
      option(&options::invalid, "invalid",
             "What to do with a value of a metric or an optional column that does not fit. reject: reject the record; "
             "extra: set the column to null and keep the value in extra."),
      option(&options::duplicate_keys, "duplicate_keys",
             "What to do with a duplicate key in an object. reject: reject the record; last: use the last value."),
      option(&options::nul, "nul",
             "What to do with \\u0000 in a string, which PostgreSQL cannot store: reject the record, strip it, or keep "
             "it."),
      option(
          &options::tombstones, "tombstones",
          "What to do with messages that have no payload (Kafka's tombstones) or an empty one (with which MQTT clients "
          "delete a retained message): reject them, or skip and count them."),
      option(&options::max_depth, "max_depth", "Maximum nesting of objects and arrays.").range(1, 500),
      option(&options::max_keys, "max_keys", "Maximum number of keys in a record, nested ones included.")
          .range(1, 1'000'000),
      option(&options::max_size, "max_size", "Maximum size of a payload in bytes.").range(2, 4'000'000'000),
      option(&options::max_id, "max_id", "Maximum size of an id (a column of `ids`) in bytes.").range(1, 1'000'000)};
}

}  // namespace json_telemetry
