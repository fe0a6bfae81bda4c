package transfer

import (
	"encoding/json"
	"time"
)

// Examples of the API description.

const exampleImport = "6694c154565dfee5166d1cd0"

var exampleFile = json.RawMessage(`{"email":"user@example.com","first_name":"John","last_name":"Doe","password_hash":"$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"}`)

func exampleStarted() importAnswer {
	return importAnswer{
		ID: exampleImport, State: Running, Source: "users.jsonl", Format: "jsonl", CreatedAt: Moment{time.Date(2024, 7, 15, 6, 27, 32, 3e6, time.UTC)},
	}
}

func exampleListed() importAnswer {
	a, total, finished := exampleStarted(), int64(50_000), Moment{time.Date(2024, 7, 15, 6, 27, 39, 118e6, time.UTC)}
	a.State, a.Records, a.Total, a.Created, a.Refused, a.Rate, a.FinishedAt = Done, total, &total, 49_999, 1, 7031, &finished
	return a
}

func exampleDone() importAnswer {
	a := exampleListed()
	a.Refusals = &[]Refusal{{
		Record: 17, Line: 18, Login: "ann@example.com", Code: "user_exists", Message: "The e-mail address, phone number or username belongs to a user already.",
	}}
	return a
}

func exampleCancelled() importAnswer {
	a, total, finished := exampleStarted(), int64(50_000), Moment{time.Date(2024, 7, 15, 6, 27, 34, 41e6, time.UTC)}
	a.State, a.Records, a.Total, a.Created, a.Rate, a.FinishedAt = Cancelled, 11_000, &total, 11_000, 6902, &finished
	a.Refusals = &[]Refusal{}
	return a
}
