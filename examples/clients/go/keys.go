package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"sync"
	"time"
)

// The keys may be kept for five minutes. A key that is not among them is looked for once in five seconds.
const keptFor, soonest = 5 * time.Minute, 5 * time.Second

// Keys are those of a JWK Set (RFC 7517), fetched when they are needed.
type Keys struct {
	URL string

	mutex   sync.Mutex
	byID    map[string]any
	fetched time.Time
}

var (
	errNoKeys     = errors.New("the keys cannot be fetched")
	errUnknownKey = errors.New("no key has this name")
)

// Find the key with this name: an ed25519.PublicKey or an *ecdsa.PublicKey.
func (keys *Keys) Find(id string) (any, error) {
	keys.mutex.Lock()
	defer keys.mutex.Unlock()
	age := time.Since(keys.fetched)
	key, known := keys.byID[id]
	if !known && age > soonest || age > keptFor {
		if err := keys.fetch(); err != nil {
			return nil, fmt.Errorf("%w: %v", errNoKeys, err)
		}
		key, known = keys.byID[id]
	}
	if !known {
		return nil, errUnknownKey
	}
	return key, nil
}

func (keys *Keys) fetch() error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(keys.URL)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	var set struct{ Keys []jwk }
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return err
	}
	keys.byID, keys.fetched = map[string]any{}, time.Now()
	for _, one := range set.Keys {
		if key := one.read(); key != nil {
			keys.byID[one.Kid] = key
		}
	}
	return nil
}

type jwk struct{ Kid, Kty, Crv, X, Y string }

// A key of a kind that is not known here is nil.
func (key jwk) read() any {
	x, _ := base64.RawURLEncoding.DecodeString(key.X)
	y, _ := base64.RawURLEncoding.DecodeString(key.Y)
	switch {
	case key.Crv == "Ed25519" && len(x) == ed25519.PublicKeySize:
		return ed25519.PublicKey(x)
	case key.Crv == "P-256":
		point := ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int).SetBytes(x), Y: new(big.Int).SetBytes(y)}
		if point.Curve.IsOnCurve(point.X, point.Y) {
			return &point
		}
	}
	return nil
}
