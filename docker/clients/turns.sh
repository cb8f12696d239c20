#!/usr/bin/env bash
# Switchboard with curl. Needs SWITCHBOARD_URL and SWITCHBOARD_KEY.
set -euo pipefail

call() {
    curl -sS --fail-with-body -H "authorization: Bearer $SWITCHBOARD_KEY" -H 'content-type: application/json' "$@"
}
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

echo '# A turn. With an Idempotency-Key of your own a repeat is the same turn.'
turn=$(call "$SWITCHBOARD_URL/v1/chat" -d '{"assistant": "support", "message": "Hello! My name is Ada."}')
echo "$turn"

echo '# The next one in the same conversation, piece by piece.'
conversation=$(echo "$turn" | field conversation_id)
call -N "$SWITCHBOARD_URL/v1/chat" \
    -d "{\"conversation_id\": \"$conversation\", \"message\": \"What is my name?\", \"stream\": true}"

echo '# A turn can be read again, or on from any event: here what came after event 2.'
call -N -H 'last-event-id: 2' "$SWITCHBOARD_URL/v1/chat/$(echo "$turn" | field id)/events"

echo '# All that was said.'
call "$SWITCHBOARD_URL/v1/conversations/$conversation/messages?order=asc"
echo

echo "# The same assistant in OpenAI's dialect."
call "$SWITCHBOARD_URL/openai/v1/chat/completions" \
    -d '{"model": "support", "messages": [{"role": "user", "content": "Hello! My name is Ada."}]}'
echo
