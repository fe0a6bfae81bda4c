package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Every person is made from the seed and a number, so that each run has the same
// people and a test can tell what a search must find.

// bigTenant is the tenant that is measured; the others are its neighbours in the
// same tables.
const (
	bigTenant  = "big"
	neighbours = 49
)

// A person is a user to be.
type person struct {
	first, last, email string
	plan               string // in the attributes
}

// One person in 64 has a given first name, one in 25 a given beginning of the last
// name, and one in 500 a given last name.
var (
	firstNames = strings.Fields(`Aaron Ada Albert Alma Amir Anna Anton Ayla Bea Boris Carla Cem Chloé Clara Daniel Diana
		Elif Emil Emma Erik Eva Felix Finn Frida Georg Greta Hanna Hugo Ida Igor Ines Ivan
		Jana Jonas Julia Karl Klara Lara Lena Leon Lina Louis Luca Maja Marie Max Mehmet Mila
		Nadia Nina Noah Olga Oskar Paul Petra Rosa Sara Sofia Theo Tom Vera Viktor Yara Zoë`)
	stems   = strings.Fields(`Acker Berg Brand Busch Damm Eich Falk Fuchs Gold Haupt Hirsch Kessel Kirch Lang Linden Moor Neu Ober Rosen Silber Stein Tannen Vogel Wald Winter`)
	endings = strings.Fields(`bach bauer baum beck bruck dorf er feld hausen heim hof ing kamp mann mayer meister ner rath stedt wiese`)
	plans   = strings.Fields("free team business enterprise")
)

const domains = 100

// Letters outside ASCII are rare in addresses.
var plainLetters = strings.NewReplacer("é", "e", "ë", "e")

// personOf makes the person of a number. The number is in the address, so all of
// them differ.
func personOf(seed uint64, n int) person {
	x := newXorshift(seed, uint64(n))
	p := person{first: firstNames[x.below(len(firstNames))], last: stems[x.below(len(stems))] + endings[x.below(len(endings))]}
	name := plainLetters.Replace(strings.ToLower(p.first + "." + p.last))
	p.email = fmt.Sprintf("%s.%07d@mail%02d.example", name, n, x.below(domains))
	p.plan = plans[x.below(len(plans))]
	return p
}

// bcryptHash is a hash of cost 10. Nobody signs in with it: it shows that such hashes
// are judged and stored, so each person gets it with another salt.
const bcryptHash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

func passwordHash(seed uint64, n int) string {
	const alphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	x := newXorshift(seed+1, uint64(n))
	hash := []byte(bcryptHash)
	for i := range 21 { // of 22: only two bits of the last one count
		hash[len("$2b$10$")+i] = alphabet[x.below(len(alphabet))]
	}
	return string(hash)
}

// writePeople writes the people from one number to before another into a file of
// JSON lines to import, each with the password hash of their number.
func writePeople(path string, seed uint64, from, to int, hash func(n int) string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	for n := from; n < to; n++ {
		p := personOf(seed, n)
		_, err = fmt.Fprintf(out, `{"email":%q,"email_verified":true,"first_name":%q,"last_name":%q,"raw_attributes":{"plan":%q,"locale":"en-GB"},"password_hash":%q}`+"\n",
			p.email, p.first, p.last, p.plan, hash(n))
		if err != nil {
			break
		}
	}
	if err == nil {
		err = out.Flush()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}
