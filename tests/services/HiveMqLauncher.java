// Starts the HiveMQ community edition in a folder (conf, data, extensions). Without an authentication extension the broker
// rejects all clients. The extension here accepts the user name and password in the file "login", or all clients if the
// file is empty.

import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput;
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput;
import com.hivemq.extension.sdk.api.packets.connect.ConnackReasonCode;
import com.hivemq.extension.sdk.api.packets.connect.ConnectPacket;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

public final class HiveMqLauncher {
  public static void main(String[] arguments) throws Exception {
    Path folder = Path.of(arguments[0]);
    List<String> login = Files.readAllLines(folder.resolve("login"));
    EmbeddedExtension guard =
        EmbeddedExtension.builder()
            .withId("guard")
            .withName("guard")
            .withVersion("1")
            .withExtensionMain(new Guard(login.get(0), login.get(1)))
            .build();
    EmbeddedHiveMQ broker =
        EmbeddedHiveMQ.builder()
            .withConfigurationFolder(folder.resolve("conf"))
            .withDataFolder(folder.resolve("data"))
            .withExtensionsFolder(folder.resolve("extensions"))
            .withEmbeddedExtension(guard)
            .build();
    Runtime.getRuntime().addShutdownHook(new Thread(() -> broker.stop().join()));
    try {
      broker.start().join();
    } catch (RuntimeException failed) {
      failed.printStackTrace();
      Runtime.getRuntime().halt(1);  // the broker's threads would keep the process alive
    }
  }

  private static final class Guard implements ExtensionMain, SimpleAuthenticator {
    private final String user;
    private final String password;

    Guard(String user, String password) {
      this.user = user;
      this.password = password;
    }

    @Override
    public void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
      Services.securityRegistry().setAuthenticatorProvider(provided -> this);
    }

    @Override
    public void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}

    @Override
    public void onConnect(SimpleAuthInput input, SimpleAuthOutput output) {
      if (user.isEmpty() || isTheUser(input.getConnectPacket())) {
        output.authenticateSuccessfully();
      } else {
        output.failAuthentication(ConnackReasonCode.BAD_USER_NAME_OR_PASSWORD, "wrong user name or password");
      }
    }

    private boolean isTheUser(ConnectPacket packet) {
      return packet.getUserName().equals(java.util.Optional.of(user))
          && packet
              .getPassword()
              .map(given -> StandardCharsets.UTF_8.decode(given).toString().equals(password))
              .orElse(false);
    }
  }
}
