package kobil

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-id/cardea/internal/user"
	"github.com/cardea-id/cardea/internal/web"
)

// Attributes are stored as the JSON object that was given, by whatever API. Here
// each is an array of strings.

// texts returns stored attributes as this surface shows them: a string becomes
// an array of it, a number or boolean an array of its text, an object an array of
// its JSON, a null an empty array.
func texts(stored json.RawMessage) (map[string][]string, error) {
	object, err := members(stored)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]string, len(object))
	for name, value := range object {
		if out[name], err = textsOf(value); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func members(stored json.RawMessage) (object map[string]json.RawMessage, err error) {
	if len(stored) == 0 {
		return nil, nil
	}
	if err := json.Unmarshal(stored, &object); err != nil {
		return nil, fmt.Errorf("read stored attributes: %w", err)
	}
	return object, nil
}

func textsOf(value json.RawMessage) ([]string, error) {
	items := []json.RawMessage{value}
	if value[0] == '[' {
		items = nil // or the items would be written over value's own bytes
		if err := json.Unmarshal(value, &items); err != nil {
			return nil, fmt.Errorf("read attribute: %w", err)
		}
	}
	out := []string{}
	for _, item := range items {
		switch {
		case string(item) == "null":
		case item[0] == '"':
			var text string
			if err := json.Unmarshal(item, &text); err != nil {
				return nil, fmt.Errorf("read attribute: %w", err)
			}
			out = append(out, text)
		default:
			out = append(out, string(item))
		}
	}
	return out, nil
}

// basic are the fields that the answer to Get User repeats among the attributes,
// each as an array, [null] where it is not set. Clients send back what they were
// given, so among the attributes of a request they mean nothing.
var basic = []string{"username", "email", "firstName", "lastName"}

// withBasic is texts with the basic fields added.
func withBasic(u user.User) (map[string][]*string, error) {
	attributes, err := texts(u.Attributes)
	if err != nil {
		return nil, err
	}
	out := make(map[string][]*string, len(attributes)+len(basic))
	for name, values := range attributes {
		out[name] = make([]*string, len(values))
		for i := range values {
			out[name][i] = &values[i]
		}
	}
	for i, value := range []string{u.Login(), u.Email, u.FirstName, u.LastName} {
		out[basic[i]] = []*string{nil}
		if value != "" {
			out[basic[i]][0] = &value
		}
	}
	return out, nil
}

// requiredActionAttribute is where KOBIL keeps its own required actions; those of
// a user's requiredActions are Keycloak's.
const requiredActionAttribute = "digitaniumRequiredAction"

func isKobilAction(name string) bool { return strings.HasPrefix(name, "kobil-") }

// given are the attributes of a request.
type given map[string]json.RawMessage

// stored returns the object to store when g comes on top of base: the arrays and
// strings that were given, without the basic fields and without what has no
// value.
func (g given) stored(base map[string]json.RawMessage) (json.RawMessage, error) {
	object := maps.Clone(base)
	if object == nil {
		object = map[string]json.RawMessage{}
	}
	for name, value := range g {
		if slices.Contains(basic, name) {
			continue
		}
		values, err := textsOf(value)
		if err != nil {
			return nil, web.ErrBody.Because("attribute: %w", err)
		}
		if len(values) == 0 {
			delete(object, name)
		} else {
			object[name] = value
		}
	}
	return encode(object), nil
}

// encode is the compact JSON of what can always be encoded.
func encode(v any) json.RawMessage {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false) // stored texts are read by people, too
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(buf.Bytes())
}
