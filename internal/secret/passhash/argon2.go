package passhash

import (
	"errors"
	"strings"
)

// An argon2KDF is argon2.Key (Argon2i) or the Key of memory (Argon2id).
type argon2KDF func(password, salt []byte, passes, memory uint32, lanes uint8, size uint32) []byte

// argon2Form reads the PHC form: v=19$m=…,t=…,p=…$salt$hash, with or without our
// key id after p.
func argon2Form(derive argon2KDF) form {
	return func(rest string) (recipe, error) {
		rest, ok := strings.CutPrefix(rest, "v=19$")
		if !ok {
			return recipe{}, errors.New("only version 19 (v=19) is supported")
		}
		part, err := fields(rest, 3)
		if err != nil {
			return recipe{}, err
		}
		costs, keyID, peppered := strings.Cut(part[0], ",keyid=")
		if peppered && keyID == "" {
			return recipe{}, errors.New("keyid is empty")
		}
		p, err := parseParams(costs)
		if err != nil {
			return recipe{}, err
		}
		salt, sum, err := saltAndSum(part[1], part[2])
		if err != nil {
			return recipe{}, err
		}
		match := func(password []byte) (bool, error) {
			return equal(derive(password, salt, p.Time, p.Memory, p.Lanes, uint32(len(sum))), sum), nil
		}
		return recipe{keyID: keyID, memory: int(p.Memory), match: match}, nil
	}
}

func parseParams(costs string) (Params, error) {
	value, err := settings(costs, "m", "t", "p")
	if err != nil {
		return Params{}, err
	}
	m, err := number("memory (m)", value[0], 8, maxMemory)
	if err != nil {
		return Params{}, err
	}
	t, err := number("passes (t)", value[1], 1, maxArgonWork)
	if err != nil {
		return Params{}, err
	}
	lanes, err := number("lanes (p)", value[2], 1, maxLanes)
	if err != nil {
		return Params{}, err
	}
	p := Params{Memory: uint32(m), Time: uint32(t), Lanes: uint8(lanes)}
	return p, p.Check()
}
