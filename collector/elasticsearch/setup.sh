#!/bin/sh
# Prepares Elasticsearch 9.5 for docker-compose.yml, once and again without harm: a user with the least
# privileges for each program, and how long log records stay. Run by the service elasticsearch-setup.
#
# Environment: ELASTICSEARCH_URL, ELASTIC_PASSWORD, {APP,COLLECTOR,JAEGER,GRAFANA}_ELASTICSEARCH_PASSWORD,
#   APP_INDICES (a pattern), LOGS_RETENTION
set -eu

put() { # path, body
  curl --silent --show-error --fail-with-body --retry 5 --retry-all-errors \
    --user "elastic:$ELASTIC_PASSWORD" --header 'Content-Type: application/json' \
    --request PUT "$ELASTICSEARCH_URL/$1" --data-binary "$2"
  echo "  $1"
}

user() { # name, password, cluster privileges, index privileges
  put "_security/role/otel_search_$1" "{\"cluster\": $3, \"indices\": $4}"
  put "_security/user/$1" "{\"password\": \"$2\", \"roles\": [\"otel_search_$1\"]}"
}

user app "$APP_ELASTICSEARCH_PASSWORD" '["monitor"]' \
  "[{\"names\": [\"$APP_INDICES\"], \"privileges\": [\"manage\", \"read\", \"write\", \"view_index_metadata\"]}]"
user collector "$COLLECTOR_ELASTICSEARCH_PASSWORD" '["monitor"]' \
  '[{"names": ["logs-*", "traces-*", "metrics-*"], "privileges": ["auto_configure", "create_doc"]}]'
user jaeger "$JAEGER_ELASTICSEARCH_PASSWORD" '["monitor", "manage_index_templates"]' \
  '[{"names": ["jaeger-*"], "privileges": ["all"]}]'
user grafana "$GRAFANA_ELASTICSEARCH_PASSWORD" '["monitor"]' \
  '[{"names": ["logs-*", "traces-*"], "privileges": ["read", "view_index_metadata"]}]'

put _cluster/settings "{\"persistent\": {\"data_streams.lifecycle.retention.default\": \"$LOGS_RETENTION\"}}"
