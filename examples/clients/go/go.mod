module kerria.example/resource-server

go 1.19

require (
	github.com/golang-jwt/jwt/v4 v4.4.3
	golang.org/x/sys v0.3.0
)
