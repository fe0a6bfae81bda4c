package ratelimit

import "time"

// The limits of the product, with their defaults. What one is keyed on stands with
// it: "identifier" is whatever the person typed, "account" the id of the user it
// belongs to, "address" the network address. A caller that lets a tenant choose
// copies the limit and changes the numbers; the name stays.
//
// Not in this table: the five wrong tries that kill a mailed or texted code, which
// count in the code's own row, and the bound on password hashes at a time.
var (
	// SignIn stops guessing at one account from one place. Key(identifier, address);
	// Take before the check, Reset after a success.
	SignIn = Limit{Name: "signin", Count: 10, Per: 24 * time.Hour, Delay: 30 * time.Second, MaxDelay: time.Hour}

	// Account stops guessing at one account from everywhere, by whatever means
	// (NIST SP 800-63B-4, section 3.2.2). Key(account, ""); Take before the check,
	// Reset after a success or a recovery. A known device and a passkey do not ask it.
	Account = Limit{Name: "account", Count: 100, Delay: UntilReset, MaxDelay: UntilReset}

	// SignInAddress stops trying many accounts from one place. Key("", address).
	SignInAddress = Limit{Name: "signin_address", Count: 100, Per: 5 * time.Minute}

	// SecondFactor stops guessing one-time and backup codes with a password that is
	// known. Key(account, ""); Take before the check, Reset after a success.
	SecondFactor = Limit{Name: "second_factor", Count: 10, Per: 24 * time.Hour, Delay: 30 * time.Second, MaxDelay: time.Hour}

	// Send bounds the mails and text messages to one person that a stranger can
	// cause: links, codes, password resets, invitations. Key(target, "").
	Send = Limit{Name: "send", Count: 5, Per: time.Hour}

	// Resend is the pause between two of them. Key(target, "").
	Resend = Limit{Name: "resend", Count: 1, Per: 30 * time.Second}

	// SendAddress bounds those to many people from one place. Key("", address).
	SendAddress = Limit{Name: "send_address", Count: 60, Per: time.Hour}

	// SMSRange bounds the text messages to numbers that differ in the last four digits
	// only, which is how numbers are rented to be paid for what they receive.
	// Key(number without them, "").
	SMSRange = Limit{Name: "sms_range", Count: 20, Per: time.Hour}

	// SMSCountry bounds those to one country, or to one area of North America, where
	// calling code +1 has many countries. Key(calling code, "").
	SMSCountry = Limit{Name: "sms_country", Count: 1000, Per: time.Hour}

	// CodeTries stops guessing at codes sent to one person, one code after the other:
	// in any 24 hours it allows 50, of a million. Links sent with the codes still work.
	// Key(target, ""); Reset after a success.
	CodeTries = Limit{Name: "code_tries", Count: 25, Per: 24 * time.Hour}

	// Redeem stops guessing at links, codes and invitations for whomever they may be.
	// Key("", address).
	Redeem = Limit{Name: "redeem", Count: 60, Per: 10 * time.Minute}

	// Challenges bounds what strangers have us store by beginning to sign in with a
	// passkey, as every look at the sign-in page does. Key("", address).
	Challenges = Limit{Name: "passkey_challenges", Count: 300, Per: 5 * time.Minute}

	// Begin bounds what strangers have us store by beginning to sign in: requests of
	// applications, also pushed ones of those that prove nothing, and attempts. It is
	// wide, because whole offices share an address in the morning. Key("", address).
	Begin = Limit{Name: "begin", Count: 600, Per: 10 * time.Minute}

	// Proofs bounds the DPoP proofs that are remembered as used for applications that
	// prove nothing: anybody can make a key and sign with it. Key("", address).
	Proofs = Limit{Name: "dpop_proofs", Count: 1200, Per: 10 * time.Minute}

	// SignUp bounds the accounts made from one place. Key("", address).
	SignUp = Limit{Name: "signup", Count: 20, Per: time.Hour}

	// ClientSecret stops guessing at an application's secret, at the token endpoint,
	// introspection and revocation alike. Key(client id, address); Reset after a success.
	ClientSecret = Limit{Name: "client_secret", Count: 20, Per: time.Hour, Delay: time.Second, MaxDelay: 5 * time.Minute}

	// APIKey stops trying bearer keys and SCIM tokens. Only failures count: Take after
	// one. Key("", address).
	APIKey = Limit{Name: "api_key", Count: 50, Per: time.Minute}

	// UserCode stops guessing at the short codes of devices that wait (RFC 8628,
	// section 5.1). Key("", address).
	UserCode = Limit{Name: "user_code", Count: 10, Per: 15 * time.Minute}

	// DeviceStarts bounds the codes for devices that a stranger can have made
	// (RFC 8628, section 3.1). Key("", address).
	DeviceStarts = Limit{Name: "device_code", Count: 60, Per: 10 * time.Minute}

	// Registration bounds the applications that register themselves (RFC 7591).
	// Key("", address).
	Registration = Limit{Name: "registration", Count: 10, Per: time.Hour}
)

// Limits is the table, for the manual and for tests.
var Limits = []Limit{
	SignIn, Account, SignInAddress, SecondFactor, Send, Resend, SendAddress,
	SMSRange, SMSCountry, CodeTries, Redeem, Challenges, Begin, Proofs, SignUp,
	ClientSecret, APIKey, UserCode, DeviceStarts, Registration,
}
