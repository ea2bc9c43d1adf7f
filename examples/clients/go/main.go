// A resource server that checks Kerria's access tokens with golang-jwt, and refuses those that were ended.
//
//	resource-server PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v4"
)

// Claims of an access token (RFC 9068).
type Claims struct {
	jwt.RegisteredClaims
	Session string  `json:"sid"`
	Client  string  `json:"client_id"`
	Scope   string  `json:"scope"`
	AsOf    *uint64 `json:"as_of"`
}

type server struct {
	feed     *Feed
	keys     *Keys
	audience string
}

func main() {
	if len(os.Args) < 5 {
		fmt.Fprintln(os.Stderr, "usage: resource-server PORT CHECKERS_TOKEN_FILE AUDIENCE NODE...")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(port, tokenFile, audience string, nodes []string) error {
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		return err
	}
	feed, err := Follow(nodes, strings.TrimSpace(string(token)), "go")
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	keys := &Keys{URL: feed.Issuer + "/.well-known/jwks.json"}
	serving := http.Server{Handler: &server{feed, keys, audience}, ReadHeaderTimeout: 10 * time.Second}
	stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		<-stopping.Done()
		serving.Close()
	}()
	fmt.Fprintf(os.Stderr, "listening on http://%s\n", listener.Addr())
	if err := serving.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return feed.Leave()
}

func (server *server) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	scheme, token, _ := strings.Cut(request.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		refuse(response, "Bearer")
		return
	}
	claims, err := server.verify(token)
	switch {
	case errors.Is(err, errNoKeys):
		cannotTell(response)
		return
	case err != nil:
		refuse(response, `Bearer error="invalid_token"`)
		return
	}
	body := map[string]string{"user": claims.Subject, "session": claims.Session, "scope": claims.Scope}
	// Last, and nothing takes time after it.
	switch server.feed.Verdict(claims) {
	case Good:
		answerWith(response, http.StatusOK, body)
	case Ended:
		refuse(response, `Bearer error="invalid_token"`)
	default:
		cannotTell(response)
	}
}

func (server *server) verify(token string) (*Claims, error) {
	claims := &Claims{}
	parsed, err := jwt.ParseWithClaims(token, claims, func(token *jwt.Token) (any, error) {
		id, _ := token.Header["kid"].(string)
		return server.keys.Find(id)
	}, jwt.WithValidMethods([]string{"EdDSA", "ES256"}))
	if err != nil {
		return nil, err
	}
	// What this library demands only where it is asked to.
	isExpected := parsed.Header["typ"] == "at+jwt" &&
		claims.VerifyExpiresAt(time.Now(), true) &&
		claims.VerifyIssuer(server.feed.Issuer, true) &&
		claims.VerifyAudience(server.audience, true) &&
		claims.ID != "" && claims.Subject != "" && claims.Client != "" && claims.AsOf != nil
	if !isExpected {
		return nil, errors.New("this is no access token for us")
	}
	return claims, nil
}

func refuse(response http.ResponseWriter, challenge string) {
	response.Header().Set("WWW-Authenticate", challenge)
	answerWith(response, http.StatusUnauthorized, map[string]string{"error": "invalid_token"})
}

// Neither "good" nor "signed out": the client keeps its token and comes again.
func cannotTell(response http.ResponseWriter) {
	response.Header().Set("Retry-After", "1")
	answerWith(response, http.StatusServiceUnavailable, map[string]string{"error": "temporarily_unavailable"})
}

func answerWith(response http.ResponseWriter, status int, body any) {
	response.Header().Set("Content-Type", "application/json")
	response.Header().Set("Cache-Control", "no-store")
	response.WriteHeader(status)
	// A client that is gone does not need it.
	_ = json.NewEncoder(response).Encode(body)
}
