#!/usr/bin/env bash
# Run a class of Kafka, with the variables by which its own scripts take Java's options.
set -euo pipefail

libraries=$(printf ':%s' /opt/kafka/libs/*.jar)
# Options are separated by spaces, and none holds one.
# shellcheck disable=SC2086
exec /opt/java/openjdk/bin/java \
  ${KAFKA_HEAP_OPTS:--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS:--server} \
  -Dorg.slf4j.simpleLogger.logFile=System.out \
  -Dorg.slf4j.simpleLogger.showDateTime=true \
  "-Dorg.slf4j.simpleLogger.dateTimeFormat=[yyyy-MM-dd HH:mm:ss,SSS]" \
  ${KAFKA_LOG4J_OPTS-} ${KAFKA_JMX_OPTS-} ${KAFKA_OPTS-} \
  -classpath "${CLASSPATH-}$libraries" "$@"
